package expr

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
)

// typed checks against a schema; nothing runs in it. CEL's own == and in want both sides to be of one type, and do not let more
// be added, so they are declared anew: all numbers of JSON are doubles, which are as good as integers at run time.
var typed = sync.OnceValues(func() (*cel.Env, error) {
	without := env.NewLibrarySubset().AddExcludedFunctions(
		env.NewFunction(operators.Equals), env.NewFunction(operators.NotEquals), env.NewFunction(operators.In))
	options := append([]cel.EnvOption{cel.StdLib(cel.StdLibSubset(without))}, settings()...)
	return cel.NewCustomEnv(append(options, equality()...)...)
})

var (
	paramA, paramB = cel.TypeParamType("A"), cel.TypeParamType("B")
	paramC, paramD = cel.TypeParamType("C"), cel.TypeParamType("D")
	mapAB, mapCD   = cel.MapType(paramA, paramB), cel.MapType(paramC, paramD)
)

// alike are the pairs of types whose values can be equal.
func alike() map[string][2]*cel.Type {
	pairs := map[string][2]*cel.Type{
		"double_int": {cel.DoubleType, cel.IntType}, "int_double": {cel.IntType, cel.DoubleType},
		"list": {cel.ListType(paramA), cel.ListType(paramB)}, "map": {mapAB, mapCD},
		"type": {cel.TypeType, cel.TypeType},
	}
	for _, t := range []*cel.Type{cel.BoolType, cel.IntType, cel.UintType, cel.DoubleType, cel.StringType, cel.BytesType,
		cel.TimestampType, cel.DurationType, cel.NullType} {
		pairs[t.String()] = [2]*cel.Type{t, t}
	}
	return pairs
}

func equality() []cel.EnvOption {
	options := []cel.EnvOption{cel.Function(operators.In, cel.Overload("in_map", []*cel.Type{paramA, mapAB}, cel.BoolType))}
	for name, pair := range alike() {
		options = append(options, compared(name, pair[0], pair[1])...)
	}
	return options
}

// compared declares ==, != and in for two types.
func compared(name string, one, other *cel.Type) []cel.EnvOption {
	declare := func(operator, id string, second *cel.Type) cel.EnvOption {
		return cel.Function(operator, cel.Overload(id+name, []*cel.Type{one, second}, cel.BoolType))
	}
	return []cel.EnvOption{
		declare(operators.Equals, "equals_", other), declare(operators.NotEquals, "not_equals_", other),
		declare(operators.In, "in_list_", cel.ListType(other)),
	}
}

// objectFunctions let an object be read like the map that it is: data["a-b"], "a-b" in data, and compared with one.
func objectFunctions(name string) []cel.EnvOption {
	is := cel.ObjectType(name)
	options := append(compared(name, is, is), compared(name+"_map", is, mapAB)...)
	return append(options, append(compared("map_"+name, mapAB, is),
		cel.Function(operators.Index, cel.Overload("index_"+name, []*cel.Type{is, cel.StringType}, cel.DynType)),
		cel.Function(operators.In, cel.Overload("in_"+name, []*cel.Type{cel.StringType, is}, cel.BoolType)))...)
}
