package portal

// adminRoutes lists the pages of admins.
func (s *site) adminRoutes() {
	s.admin("GET /portal/admin/{$}", adminHome)
}

func adminHome(v *visit) error { return v.page("adminhome", "Administration", nil) }
