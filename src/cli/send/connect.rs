//! Reaching the server: addresses, deadlines and retries.

use std::io;
use std::time::Duration;

use futures_lite::{FutureExt, future};
use smol::Timer;
use smol::net::TcpStream;
use tlsink::client::{ConnectError, Connector, Sender, ServerAlert, ServerVerifier};
use tlsink::tls::{CertificateFault, CredentialKind, Identity, TlsError};

use super::super::address::HostPort;
use super::super::args::{SendArgs, Trust};
use super::super::keep_alive::keep_alive;
use super::super::resolve::{is_no_interface, resolve};
use super::super::say::Say;
use super::super::unusable::unusable;
use super::super::{Failure, resolve};

/// The time for a server to accept a connection, for each address of its name.
const CONNECT: Duration = Duration::from_secs(10);

/// The time for the handshake: the same that receivers give to senders.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The pause before the second try. Each further pause is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Reads the CA that verifies the server, and our own certificate.
///
/// # Errors
///
/// The error of the first file that can't be used.
pub(super) fn connector(args: &SendArgs, answer: usize) -> Result<Connector, Failure> {
    let servers = match &args.trust {
        Trust::System => ServerVerifier::from_system(),
        Trust::Ca(path) => ServerVerifier::from_ca_pem_file(path),
        Trust::Fingerprint(fingerprint) => Ok(ServerVerifier::from_fingerprint(*fingerprint)),
        Trust::Anyone => Ok(ServerVerifier::anyone()),
    };
    let mut connector = servers
        .and_then(Connector::new)
        .map_err(unverifiable)?
        .max_answer(answer);
    if let Some((chain, key)) = &args.identity {
        let identity = Identity::from_pem_files(chain, key).map_err(unverifiable)?;
        connector = connector.identity(identity);
    }
    Ok(connector)
}

fn unverifiable(error: TlsError) -> Failure {
    let cause = match &error {
        TlsError::File { source, .. } => source,
        other => other,
    };
    let hint = match cause {
        TlsError::Missing {
            kind: CredentialKind::CaCertificate,
        } => "give --ca the certificate of the CA that signed the server's, not the server's",
        TlsError::WrongKey => {
            "--cert and --key must belong together, the client's own certificate first"
        }
        TlsError::NoRoots { .. } => {
            "--ca FILE verifies the server by the CA in FILE, --fingerprint by its certificate"
        }
        _ => return unusable(error),
    };
    Failure::misused(error.to_string()).hint(hint)
}

/// Connects and completes the handshake, with retries. Returns the stream, and the socket below it.
///
/// # Errors
///
/// The error of the last try.
pub(super) async fn connect(
    args: &SendArgs,
    connector: &Connector,
    say: &Say,
) -> Result<(Sender<TcpStream>, TcpStream), Failure> {
    let mut pause = FIRST_PAUSE;
    let mut tries = 0;
    loop {
        let error = match attempt(args, (&args.to, &args.name), connector, say).await {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        if tries >= args.retry || !error.may_pass {
            return Err(error.failure);
        }
        tries += 1;
        say.info(&format!(
            "{}; try {tries} of {} in {} s",
            error.failure.what,
            args.retry,
            pause.as_secs_f64()
        ));
        Timer::after(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// The error of a failed try.
pub(super) struct AttemptError {
    pub(super) failure: Failure,
    /// The next try may succeed.
    pub(super) may_pass: bool,
}

impl AttemptError {
    fn passing(what: String) -> Self {
        AttemptError {
            failure: Failure::failed(what),
            may_pass: true,
        }
    }
}

/// Tries once to connect to this server, whose certificate has this name, and to complete the
/// handshake.
///
/// # Errors
///
/// When that failed, or took too long.
pub(super) async fn attempt(
    args: &SendArgs,
    (to, name): (&HostPort, &str),
    connector: &Connector,
    say: &Say,
) -> Result<(Sender<TcpStream>, TcpStream), AttemptError> {
    let tcp = reach(args, to, say).await?;
    let late = async {
        Timer::after(HANDSHAKE).await;
        Err(AttemptError::passing(format!(
            "{to}: no handshake within {} s",
            HANDSHAKE.as_secs_f64()
        )))
    };
    let handshake = async {
        let connected = connector.connect(name, tcp.clone()).await;
        let sender = connected.map_err(|error| refused(&error, args, (to, name)))?;
        Ok((sender, tcp))
    };
    handshake.or(late).await
}

/// Connects to the first address that accepts.
async fn reach(args: &SendArgs, to: &HostPort, say: &Say) -> Result<TcpStream, AttemptError> {
    let addresses = resolve(to).await;
    let addresses = addresses.map_err(|error| AttemptError {
        failure: Failure::failed(format!("can't resolve {to}: {error}")).hint(
            resolve::zone_hint(to).unwrap_or_else(|| {
                "is the name right? HOST is a DNS name or an IP address".to_owned()
            }),
        ),
        may_pass: true,
    })?;
    let mut last = io::Error::other("its name has no address");
    for address in addresses {
        let late = async {
            Timer::after(CONNECT).await;
            let text = format!("no answer within {} s", CONNECT.as_secs_f64());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        };
        match future::or(TcpStream::connect(address), late).await {
            Ok(tcp) => {
                say.detail(|| format!("connected to {address}"));
                keep_alive(&tcp);
                // A flushed line should leave at once.
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    let mut failure = Failure::failed(format!("can't connect to {to}: {last}"));
    if last.kind() == io::ErrorKind::ConnectionRefused {
        failure = failure.hint(match args.retry {
            0 => "nothing listens there; --retry N tries again".to_owned(),
            further => {
                let tries = further.saturating_add(1);
                format!("nothing listens there; {tries} tries failed")
            }
        });
    } else if let Some(hint) = resolve::zone_hint(to).filter(|_| is_no_interface(&last)) {
        failure = failure.hint(hint);
    }
    Err(AttemptError {
        failure,
        may_pass: true,
    })
}

fn refused(error: &ConnectError, args: &SendArgs, (to, name): (&HostPort, &str)) -> AttemptError {
    let what = format!("{to}: {error}");
    // Without --name, the name is that of the host.
    let is_named = name != to.name();
    let failure = match error {
        ConnectError::Name { .. } => Failure::misused(what).hint(match is_named {
            true => "--name takes one of these; international names in ASCII",
            false => "--name NAME says whose certificate it must be; international names in ASCII",
        }),
        ConnectError::Untrusted {
            fault, fingerprint, ..
        } => Failure::failed(what).hint(match fault {
            CertificateFault::UnknownCa => {
                let ca = match args.trust {
                    Trust::Ca(_) => "is it the right --ca? --fingerprint",
                    _ => "--ca FILE trusts the CA in FILE, and --fingerprint",
                };
                format!("{ca} {fingerprint} trusts this very certificate")
            }
            CertificateFault::Name if is_named => {
                "is it the right server, and the right --name?".to_owned()
            }
            CertificateFault::Name => {
                "if this is the right server, --name gives the name to expect".to_owned()
            }
            CertificateFault::Expired | CertificateFault::NotValidYet => format!(
                "is the clock right here? --fingerprint {fingerprint} trusts it whatever its dates"
            ),
            CertificateFault::Fingerprint => {
                "either the server has a new certificate, or this is another server".to_owned()
            }
            CertificateFault::NoCrl => {
                "the file of --ca holds CRLs: each CA above the server needs one \
                                that has not expired, or none must be there"
                    .to_owned()
            }
            _ => "the server needs another certificate".to_owned(),
        }),
        ConnectError::Alert(alert) => alerted(Failure::failed(what), alert, args),
        ConnectError::Handshake { .. } => Failure::failed(what),
        // A server that is restarting, or that has no free place, looks like this.
        _ => return AttemptError::passing(what),
    };
    AttemptError {
        failure,
        may_pass: false,
    }
}

/// Adds the remedy for a server's alert, if there is one.
pub(super) fn alerted(failure: Failure, alert: &ServerAlert, args: &SendArgs) -> Failure {
    match alert.wants_certificate && args.identity.is_none() {
        true => failure.hint("--cert and --key show it one that its CA has signed"),
        false => failure,
    }
}
