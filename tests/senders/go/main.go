// Sends messages by a Go client, go-lumber or fluent-logger-golang, until all are acknowledged, and prints how
// many are. The arguments are the client, the server's port, the files of its CA, of the client's certificate
// and of its key, and the number of messages.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/elastic/go-lumber/client/v2"
	"github.com/fluent/fluent-logger-golang/fluent"
)

func main() {
	if len(os.Args) != 7 {
		fmt.Fprintln(os.Stderr, "usage: senders lumber|fluent PORT CA CERT KEY COUNT")
		os.Exit(2)
	}
	port, count := number(os.Args[2]), number(os.Args[6])
	switch os.Args[1] {
	case "lumber":
		lumber(port, configuration(os.Args[3], os.Args[4], os.Args[5]), count)
	case "fluent":
		fluentLogger(port, count)
	}
}

// The client of Beats.
func lumber(port int, config *tls.Config, count int) {
	dial := func(network, address string) (net.Conn, error) {
		return tls.Dial(network, address, config)
	}
	for acknowledged := 0; acknowledged < count; {
		address := fmt.Sprintf("localhost:%d", port)
		client, err := v2.SyncDialWith(dial, address, v2.CompressionLevel(3), v2.Timeout(30*time.Second))
		for err == nil && acknowledged < count {
			var window []interface{}
			for at := acknowledged; at < min(acknowledged+100, count); at++ {
				window = append(window, map[string]string{"message": fmt.Sprintf("message %d", at)})
			}
			var sent int
			sent, err = client.Send(window)
			// The messages that it counts before it fails are acknowledged, too.
			acknowledged += sent
			fmt.Println("acknowledged", acknowledged)
		}
		if client != nil {
			client.Close()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// The client of Docker's log driver. It takes the CA from SSL_CERT_FILE, and has no certificate of its own.
func fluentLogger(port int, count int) {
	logger, err := fluent.New(fluent.Config{
		FluentNetwork:      "tls",
		FluentHost:         "localhost",
		FluentPort:         port,
		RequestAck:         true,
		SubSecondPrecision: true,
		RetryWait:          50,
		MaxRetry:           1000,
		MaxRetryWait:       100,
	})
	check(err)
	for at := 0; at < count; at++ {
		check(logger.Post("app", map[string]string{"message": fmt.Sprintf("message %d", at)}))
		fmt.Println("acknowledged", at+1)
	}
	check(logger.Close())
}

func configuration(ca, cert, key string) *tls.Config {
	text, err := os.ReadFile(ca)
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	own, err := tls.LoadX509KeyPair(cert, key)
	check(err)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}
}

func number(text string) int {
	number, err := strconv.Atoi(text)
	check(err)
	return number
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
