package secretfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/secretfile"
)

func TestOnlyAFileThatNobodyElseCanReadOrChangeIsRead(t *testing.T) {
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o440: true, 0o640: true, 0o644: false, 0o660: false, 0o604: false, 0o777: false} {
		path := filepath.Join(t.TempDir(), "key")
		require.NoError(t, os.WriteFile(path, []byte("hunter2"), 0o600))
		require.NoError(t, os.Chmod(path, mode))
		text, err := secretfile.Read(path)
		if ok {
			require.NoError(t, err)
			require.Equal(t, "hunter2", string(text))
			continue
		}
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "chmod 600")
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestWhatIsNoFileIsNamed(t *testing.T) {
	dir := t.TempDir()
	for path, fault := range map[string]string{dir: "not a file", filepath.Join(dir, "none"): "no such file"} {
		_, err := secretfile.Read(path)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, fault)
	}
	big := filepath.Join(dir, "big")
	require.NoError(t, os.WriteFile(big, make([]byte, 1<<20), 0o600))
	_, err := secretfile.Read(big)
	require.ErrorContains(t, err, "more than")
}

func TestASecretInThePlaceOfItsFileIsNotTold(t *testing.T) {
	for _, path := range []string{"hunter2", "./hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2", "/hunter2\n", ""} {
		_, err := secretfile.Read(path)
		require.ErrorIs(t, err, secretfile.ErrName)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
