// A Go program of a few lines in place of tlsink: a TLS listener, a goroutine for each
// connection, io.Copy to standard output.
package main

import (
	"compress/gzip"
	"crypto/tls"
	"flag"
	"io"
	"log"
	"net"
	"os"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:4433", "where to listen")
	cert := flag.String("cert", "", "the certificate chain, PEM")
	key := flag.String("key", "", "its private key, PEM")
	unzip := flag.Bool("gzip", false, "decompress what comes")
	tickets := flag.Bool("tickets", false, "send session tickets, as Go does unless told otherwise")
	flag.Parse()

	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := tls.Listen("tcp", *listen, &tls.Config{
		Certificates:           []tls.Certificate{pair},
		SessionTicketsDisabled: !*tickets,
	})
	if err != nil {
		log.Fatal(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go receive(connection, *unzip)
	}
}

func receive(connection net.Conn, unzip bool) {
	defer connection.Close()
	var stream io.Reader = connection
	if unzip {
		reader, err := gzip.NewReader(connection)
		if err != nil {
			log.Print(err)
			return
		}
		stream = reader
	}
	if _, err := io.Copy(os.Stdout, stream); err != nil {
		log.Print(err)
	}
}
