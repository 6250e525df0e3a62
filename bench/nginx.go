package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// nginx is Debian's, on the host between sandboxes and the server: an anchor of what relays
// connections, and of what ends TLS and begins it again with a header set.
type nginx struct {
	stream, tls int // ports at gatewayAddress
	process     *exec.Cmd
}

const (
	nginxProgram = "/usr/sbin/nginx"
	nginxStream  = "/usr/lib/nginx/modules/ngx_stream_module.so"
)

// startNginx starts it in dir. Without the packages there is none.
func startNginx(ctx context.Context, dir string, n *internet, table string) (*nginx, error) {
	for _, file := range []string{nginxProgram, nginxStream, "/usr/sbin/nft"} {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("%w: %w", errMissing, err)
		}
	}
	x := &nginx{}
	for _, port := range []*int{&x.stream, &x.tls} {
		l, err := net.Listen("tcp4", gatewayAddress+":0")
		if err != nil {
			return nil, err
		}
		*port = l.Addr().(*net.TCPAddr).Port
		defer l.Close() // so that the two differ
	}
	settings := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(settings, []byte(x.settings(dir, n)), 0o600); err != nil {
		return nil, err
	}
	// Sandboxes reach nothing of the host's otherwise.
	for _, port := range []int{x.stream, x.tls} {
		allow := exec.CommandContext(ctx, "nft", "insert", "rule", "ip", table, "input", "tcp", "dport", fmt.Sprint(port), "accept")
		if out, err := allow.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w\n%s", allow.Args, err, out)
		}
	}
	return x, x.start(ctx, settings)
}

// settings are nginx's, as its manual recommends them for a relay that keeps its connections.
func (x *nginx) settings(dir string, n *internet) string {
	return fmt.Sprintf(`
load_module %[1]s;
daemon off; worker_processes auto; user root; pid %[2]s/nginx.pid; error_log %[2]s/nginx.log;
events { worker_connections 512; }
stream { server { listen %[3]s:%[4]d; proxy_pass %[6]s:80; } }
http {
	access_log off; keepalive_requests 1000000; tcp_nodelay on;
	client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
	upstream server { server %[6]s:443; keepalive 32; keepalive_requests 1000000; }
	server {
		listen %[3]s:%[5]d ssl http2; server_name %[7]s;
		ssl_certificate %[8]s; ssl_certificate_key %[8]s; ssl_protocols TLSv1.2 TLSv1.3;
		location / {
			proxy_pass https://server; proxy_http_version 1.1;
			proxy_set_header Connection ""; proxy_set_header Host %[7]s; proxy_set_header X-Key value;
			proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_server_name on; proxy_ssl_name %[7]s;
			proxy_ssl_verify on; proxy_ssl_trusted_certificate %[9]s;
		}
	}
}
`, nginxStream, dir, gatewayAddress, x.stream, x.tls, serverAddress, serverName, n.pair(), n.trust())
}

// start returns when both ports answer.
func (x *nginx) start(ctx context.Context, settings string) error {
	x.process = exec.Command(nginxProgram, "-c", settings)
	x.process.Stderr = os.Stderr
	if err := x.process.Start(); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, port := range []int{x.stream, x.tls} {
		for {
			c, err := net.Dial("tcp4", net.JoinHostPort(gatewayAddress, strconv.Itoa(port)))
			if err == nil {
				c.Close()
				break
			}
			select {
			case <-ctx.Done():
				x.stop()
				return fmt.Errorf("nginx does not serve: %w", err)
			case <-tick.C:
			}
		}
	}
	return nil
}

func (x *nginx) stop() {
	_ = x.process.Process.Signal(syscall.SIGTERM)
	_ = x.process.Wait()
}
