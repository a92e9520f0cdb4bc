//! The header that a proxy sends first.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::AsyncRead;

use super::Transport;
use super::deadline::Deadline;
use super::guard::Guard;
use crate::end::{End, Reset, Timeout, Truncation};
use crate::limit::Limit;
use crate::peer::Address;
use crate::proxy::{self, Header, MAX_HEADER, Parsed, Source};
use crate::shared::ServerSettings;
use crate::tls::{NormalizedTransport, Refusal};

/// A connection of which only a proxy is known.
pub(super) struct Proxied<IO> {
    transport: Option<Transport<IO>>,
    /// The header as far as it has come, and never a byte more: the transport yields what follows.
    bytes: Vec<u8>,
    /// Whether the header is complete, and only the first byte of the stream decides whether there is
    /// a sender.
    silent: bool,
    /// That byte.
    pub(super) first: Option<u8>,
    /// The deadline of the header and the handshake.
    pub(super) deadline: Deadline,
}

impl<IO> Proxied<IO> {
    pub(super) fn new(transport: Transport<IO>, settings: &ServerSettings) -> Self {
        Proxied {
            transport: Some(transport),
            bytes: Vec::new(),
            silent: false,
            first: None,
            deadline: Deadline::after(settings.handshake_timeout),
        }
    }
}

impl<IO: AsyncRead + Unpin> Proxied<IO> {
    /// Reads the header, and tells the guard who the peer is. Yields the transport.
    pub(super) fn poll(
        &mut self,
        guard: &mut Guard,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Transport<IO>, End>> {
        let polled = match self.silent {
            true => self.poll_first(guard, cx),
            false => self.poll_header(guard, cx),
        };
        let Poll::Ready(result) = polled else {
            let limit = ready!(self.deadline.poll(cx));
            return Poll::Ready(Err(End::Timeout(match self.silent {
                true => Timeout::Idle(limit),
                false => Timeout::Handshake(limit),
            })));
        };
        Poll::Ready(match (result, self.transport.take()) {
            (Err(end), _) => Err(end),
            (Ok(()), Some(transport)) => Ok(transport),
            (Ok(()), None) => Err(End::Truncated(Truncation::Handshake)),
        })
    }

    fn poll_header(&mut self, guard: &mut Guard, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let header = loop {
            let missing = match proxy::parse(&self.bytes) {
                Ok(Parsed::Complete { header, .. }) => break header,
                Ok(Parsed::Incomplete { missing, .. }) => missing.min(MAX_HEADER),
                Err(fault) => return Poll::Ready(Err(End::Refused(Refusal::Proxy(fault)))),
            };
            let before = self.bytes.len();
            self.bytes.resize(before + missing, 0);
            let room = self.bytes.get_mut(before..).unwrap_or_default();
            let read = poll_read(self.transport.as_mut(), room, cx);
            let len = match &read {
                Poll::Ready(Ok(len)) => *len,
                _ => 0,
            };
            self.bytes.truncate(before + len);
            // A proxy that says nothing has nobody's connection to pass on.
            guard.probe = self.bytes.is_empty();
            if ready!(read)? == 0 {
                return Poll::Ready(Err(End::Truncated(Truncation::Handshake)));
            }
        };
        self.bytes = Vec::new();
        self.identify(guard, header)?;
        if guard.probe && matches!(self.transport, Some(Transport::Plain(_))) {
            self.silent = true;
            self.deadline = Deadline::after(guard.shared.settings.idle_timeout);
            return self.poll_first(guard, cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the guard who the peer is.
    fn identify(&self, guard: &mut Guard, header: Header) -> Result<(), End> {
        let proxy = guard.conn.peer.clone();
        let is_own =
            |address: &Address| matches!(address, Address::Ip(_)) && address == proxy.address();
        let mut too_many = None;
        let mut allowed = true;
        match header.source {
            Source::Proxy => guard.probe = true,
            // Version 1 has no `LOCAL`: HAProxy's health checks name its own end of the connection.
            Source::Sender(address) if is_own(&address) => guard.probe = true,
            Source::Unknown => {
                guard.probe = true;
                allowed = guard.allows_peer();
            }
            Source::Sender(address) => {
                too_many = guard.found_peer(address.into());
                allowed = guard.allows_peer();
            }
        }
        // With TLS, only our own handshake verifies names.
        if let (Some(name), Some(Transport::Plain(_))) = (header.client_name, &self.transport) {
            guard.conn.peer.verified(vec![name]);
        }
        match too_many {
            _ if !allowed => Err(End::Refused(Refusal::Address)),
            Some(most) => Err(End::Limit(Limit::PerIp { most })),
            None => Ok(()),
        }
    }

    /// Waits for the first byte of a stream without TLS. Until then, it may be a health check, of
    /// which the output is to know nothing.
    fn poll_first(&mut self, guard: &mut Guard, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut first = [0];
        let read = ready!(poll_read(self.transport.as_mut(), &mut first, cx))?;
        if read == 0 {
            return Poll::Ready(Err(End::Truncated(Truncation::Handshake)));
        }
        guard.probe = false;
        let [first] = first;
        self.first = Some(first);
        Poll::Ready(Ok(()))
    }
}

fn poll_read<IO: AsyncRead + Unpin>(
    transport: Option<&mut Transport<IO>>,
    room: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<Result<usize, End>> {
    let Some(Transport::Tls(io) | Transport::Plain(io)) = transport else {
        return Poll::Ready(Ok(0));
    };
    let most = room.len();
    let read = ready!(Pin::new(&mut NormalizedTransport(io)).poll_read(cx, room));
    Poll::Ready(match read {
        Ok(len) => Ok(len.min(most)),
        Err(error) => Err(End::Reset(Reset::Transport {
            reason: error.to_string(),
        })),
    })
}
