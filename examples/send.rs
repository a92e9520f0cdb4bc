//! Shows how to send: it copies standard input to a server, and says whether all of it arrived.
//!
//! Its arguments are the server's address and name, 127.0.0.1:4433 and localhost without them. It
//! verifies the server by the `ca.pem` that `tlsink cert .` makes.

use std::{env, error::Error};

use futures_lite::{AsyncWriteExt, io};
use smol::net::TcpStream;
use smol::{Unblock, block_on};
use tlsink::client::{Connector, ServerVerifier};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:4433".to_owned());
    let name = arguments.next().unwrap_or("localhost".to_owned());
    let connector = Connector::new(ServerVerifier::from_ca_pem_file("ca.pem")?)?;
    block_on(async {
        let tcp = TcpStream::connect(address).await?;
        let mut sender = connector.connect(&name, tcp).await?;
        let sent = io::copy(Unblock::new(std::io::stdin()), &mut sender).await?;
        // Closing waits until the server's output has the whole stream.
        sender.close().await?;
        println!("the server has all {sent} bytes");
        Ok(())
    })
}
