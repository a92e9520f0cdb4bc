// Sends messages by a Go client, go-lumber or fluent-logger-golang, until all are acknowledged, and prints how
// many are. The arguments are the client, the server's port, the files of its CA, of the client's certificate
// and of its key, and the number of messages. With two more, a name and a file, each message begins with the
// name, and a few are sent each second until the file exists.
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

// The number of messages that a client sends at once.
var window = 100

// The text before each message.
var name = ""

// The file that ends the messages, if there is one.
var over = ""

func main() {
	if len(os.Args) != 7 && len(os.Args) != 9 {
		fmt.Fprintln(os.Stderr, "usage: senders lumber|fluent PORT CA CERT KEY COUNT [NAME FILE]")
		os.Exit(2)
	}
	port, count := number(os.Args[2]), number(os.Args[6])
	if len(os.Args) == 9 {
		window, name, over = 3, os.Args[7]+" ", os.Args[8]
	}
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
	done := false
	for acknowledged := 0; acknowledged < count && !done; {
		address := fmt.Sprintf("localhost:%d", port)
		client, err := v2.SyncDialWith(dial, address, v2.CompressionLevel(3), v2.Timeout(30*time.Second))
		for err == nil && acknowledged < count && !done {
			var messages []interface{}
			for at := acknowledged; at < min(acknowledged+window, count); at++ {
				messages = append(messages, message(at))
			}
			var sent int
			sent, err = client.Send(messages)
			// The messages that it counts before it fails are acknowledged, too.
			acknowledged += sent
			fmt.Println("acknowledged", acknowledged)
			if err == nil {
				done = isOver()
				pause()
			}
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
		MaxRetryWait:       100,
		// Its pause overflows at the 102nd try in a row, and would be 245 years then.
		MaxRetry: 50,
	})
	check(err)
	for at := 0; at < count && !isOver(); at++ {
		for logger.Post("app", message(at)) != nil {
		}
		fmt.Println("acknowledged", at+1)
		if (at+1)%window == 0 {
			pause()
		}
	}
	check(logger.Close())
}

func message(at int) map[string]string {
	return map[string]string{"message": fmt.Sprintf("%smessage %d", name, at)}
}

// Waits for a second, if few messages are to be sent.
func pause() {
	if over != "" {
		time.Sleep(time.Second)
	}
}

func isOver() bool {
	if over == "" {
		return false
	}
	_, err := os.Stat(over)
	return err == nil
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
