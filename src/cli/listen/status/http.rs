//! The part of HTTP/1.1 (RFC 9112) that scrapers and health checks need: a request without a body, one
//! response, and the end of the connection.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use httparse::{EMPTY_HEADER, Request, Status};
use smol::{LocalExecutor, Timer};
use tlsink::Peer;

use super::super::socket::Socket;

/// The most connections at once. The oldest makes place for a new one: a health check must come through
/// while others hold connections open.
pub(in crate::cli::listen) const MAX_CONNECTIONS: usize = 64;

/// The time for a request and its response.
const TIME: Duration = Duration::from_secs(10);

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 8 * 1024;

const MAX_HEADERS: usize = 64;

/// The pause after an error of accept(2), such as a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A response without its head.
pub(super) struct Response {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Response {
    pub(super) fn text(status: u16, body: String) -> Self {
        Response {
            status,
            content_type: "text/plain; charset=utf-8",
            body,
        }
    }

    /// Prometheus's text format, in the version that its content type names.
    pub(super) fn metrics(body: String) -> Self {
        Response {
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            ..Response::text(200, body)
        }
    }

    fn bytes(&self, has_body: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let mut text = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        if self.status == 405 {
            // RFC 9110, section 15.5.6.
            let _ = write!(text, "Allow: GET, HEAD\r\n");
        }
        text.push_str("\r\n");
        if has_body {
            text.push_str(&self.body);
        }
        text.into_bytes()
    }
}

/// Serves the connections that `accept` yields, forever. `respond` makes the response for a path.
pub(super) async fn serve<A>(accept: impl Fn() -> A, respond: impl Fn(&str) -> Response)
where
    A: Future<Output = io::Result<(Socket, Peer)>>,
{
    let executor = LocalExecutor::new();
    let respond = Rc::new(respond);
    let accepting = async {
        let mut open = VecDeque::new();
        loop {
            let Ok((socket, _)) = accept().await else {
                Timer::after(PAUSE).await;
                continue;
            };
            open.retain(|task: &smol::Task<()>| !task.is_finished());
            if open.len() >= MAX_CONNECTIONS {
                // Dropping its task closes the connection.
                open.pop_front();
            }
            let respond = Rc::clone(&respond);
            let answering = async move {
                // An error leaves the peer without its response, and concerns nobody else.
                let _ = future::or(answer(socket, &*respond), async {
                    Timer::after(TIME).await;
                    Err(io::ErrorKind::TimedOut.into())
                })
                .await;
            };
            open.push_back(executor.spawn(answering));
        }
    };
    executor.run(accepting).await
}

async fn answer(mut socket: Socket, respond: impl Fn(&str) -> Response) -> io::Result<()> {
    let mut head = Vec::new();
    let (response, has_body) = loop {
        let before = head.len();
        head.resize(before + 1024, 0);
        let room = head.get_mut(before..).unwrap_or_default();
        let read = socket.read(room).await?;
        head.truncate(before + read);
        if let Some(answer) = parse(&head, &respond) {
            break answer;
        }
        if read == 0 {
            return Ok(());
        }
    };
    socket.write_all(&response.bytes(has_body)).await?;
    socket.close().await?;
    // A body that is left unread would make the close a reset, which may overtake the response.
    let mut rest = [0; 1024];
    while socket.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The response to a request, and whether it has its body; `None` if more of the head is to come.
fn parse(head: &[u8], respond: impl Fn(&str) -> Response) -> Option<(Response, bool)> {
    let failed = |status, text: &str| Some((Response::text(status, format!("{text}\n")), true));
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Partial) if head.len() < MAX_HEAD => None,
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            failed(431, "the head of the request is too large")
        }
        Err(error) => failed(400, &format!("this is no HTTP request: {error}")),
        Ok(Status::Complete(_)) => {
            let target = request.path.unwrap_or_default();
            let path = target.split_once('?').map_or(target, |(path, _)| path);
            match request.method {
                Some("GET") => Some((respond(path), true)),
                Some("HEAD") => Some((respond(path), false)),
                _ => failed(405, "tlsink answers GET and HEAD"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(head: &str) -> Option<String> {
        let (response, has_body) =
            parse(head.as_bytes(), |path| Response::text(200, path.to_owned()))?;
        Some(String::from_utf8(response.bytes(has_body)).unwrap())
    }

    #[test]
    fn a_request_has_one_response_wherever_it_is_cut() {
        let whole = "GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(answered(&whole[..cut]), None, "{cut}");
        }
        let response = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
                        Content-Length: 8\r\nConnection: close\r\n\r\n";
        assert_eq!(answered(whole).unwrap(), format!("{response}/metrics"));
        let head = whole.replace("GET", "HEAD");
        assert_eq!(answered(&head).unwrap(), response);
        // HAProxy's checks have the older version.
        let old = answered("GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        assert!(old.starts_with("HTTP/1.1 200 OK\r\n"), "{old}");
    }

    #[test]
    fn other_requests_are_told_what_is_wrong() {
        let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(MAX_HEAD));
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_HEADERS + 1)
        );
        for (head, status) in [
            ("POST /metrics HTTP/1.1\r\n\r\n", 405),
            ("hello\r\n\r\n", 400),
            ("\x16\x03\x01\x02\x00\x01", 400),
            (&*long, 431),
            (&*many, 431),
        ] {
            let response = answered(head).unwrap();
            assert!(
                response.starts_with(&format!("HTTP/1.1 {status} ")),
                "{response}"
            );
            assert_eq!(response.contains("\r\nAllow: GET, HEAD\r\n"), status == 405);
        }
    }
}
