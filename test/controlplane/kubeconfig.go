package main

import (
	"encoding/base64"
	"fmt"
	"os"
)

const kubeconfigForm = `apiVersion: v1
kind: Config
clusters:
- name: roost-test
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: admin
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: roost-test
  context:
    cluster: roost-test
    user: admin
current-context: roost-test
`

// writeKubeconfig replaces path as a whole, 0600: readers see an old file or a
// complete one.
func writeKubeconfig(path, server string, ids *identities) error {
	var inline [3]any
	for i, file := range []string{ids.caFile, ids.clientCertFile, ids.clientKeyFile} {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		inline[i] = base64.StdEncoding.EncodeToString(data)
	}
	text := fmt.Sprintf(kubeconfigForm, append([]any{server}, inline[:]...)...)
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
