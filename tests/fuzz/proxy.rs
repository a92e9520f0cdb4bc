//! Any bytes, as the header of a proxy. `fuzz/` runs this too.

use super::{Fault, MAX_HEADER, Parsed, parse};

/// Read in pieces of no more than what is missing, as a connection does, the bytes are the same
/// header as in one piece, or have the same fault; and nothing behind the header is read.
pub(crate) fn check(bytes: &[u8]) -> Result<Parsed, Fault> {
    let whole = parse(bytes);
    if let Ok(Parsed::Complete { len, .. }) = &whole {
        assert!(*len <= bytes.len() && *len <= MAX_HEADER);
    }
    // As much as is missing, and a byte at a time.
    for most in [usize::MAX, 1] {
        let mut read = 0;
        let ended = loop {
            match parse(&bytes[..read]) {
                Ok(Parsed::Incomplete { missing, .. }) if read < bytes.len() => {
                    assert!(missing > 0 && read + missing <= MAX_HEADER);
                    read = bytes.len().min(read + missing.min(most));
                }
                ended => break ended,
            }
        };
        match (&whole, &ended) {
            (Ok(Parsed::Complete { len, .. }), Ok(_)) => {
                assert_eq!(ended, whole);
                assert_eq!(read, *len);
            }
            // A fault is found at the first byte that makes one, where another may follow it.
            (Err(_), Err(_)) => {}
            _ => assert_eq!(ended, whole, "{most}"),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::{Header, Source};
    use super::*;
    use crate::peer::Address;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len()).unwrap();
        [&[kind][..], &len.to_be_bytes(), value].concat()
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap();
        [SIGNATURE, &[command, family], &len.to_be_bytes(), rest].concat()
    }

    /// A header of a connection from 192.0.2.7:40312, with these extensions.
    fn with(extensions: &[u8]) -> Vec<u8> {
        let ends = [192, 0, 2, 7, 192, 0, 2, 1, 0x9d, 0x78, 0x11, 0x51];
        v2(0x21, 0x11, &[&ends[..], extensions].concat())
    }

    /// Adds a checksum behind the extensions, and sets it.
    fn with_checksum(before: &[u8], after: &[u8]) -> Vec<u8> {
        let mut header = with(&[before, &tlv(3, &[0; 4]), after].concat());
        let checksum = crc32c::crc32c(&header).to_be_bytes();
        let end = header.len() - after.len();
        header[end - 4..end].copy_from_slice(&checksum);
        header
    }

    fn ssl(client: u8, verify: u32, name: &[u8]) -> Vec<u8> {
        let inner = [tlv(0x21, b"TLSv1.3"), tlv(0x22, name)].concat();
        tlv(
            0x20,
            &[&[client][..], &verify.to_be_bytes(), &inner].concat(),
        )
    }

    fn sender(address: &str) -> Source {
        Source::Sender(Address::Ip(address.parse().unwrap()))
    }

    /// The source and the name in a header, with something behind it.
    #[track_caller]
    fn read(header: &[u8]) -> (Source, Option<String>) {
        let behind = [header, b"\x16\x03\x01\r\n"].concat();
        match check(&behind) {
            Ok(Parsed::Complete {
                header:
                    Header {
                        source,
                        client_name,
                    },
                len,
            }) => {
                assert_eq!(len, header.len());
                (source, client_name)
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn fault(header: &[u8]) -> Fault {
        check(header).unwrap_err()
    }

    const fn malformed(part: &'static str) -> Fault {
        Fault::Malformed { part }
    }

    #[test]
    fn a_line_names_the_sender() {
        for (line, source) in [
            (
                "TCP4 192.0.2.7 192.0.2.1 40312 4433",
                sender("192.0.2.7:40312"),
            ),
            ("TCP4 1.1.1.1 1.1.1.1 1 1", sender("1.1.1.1:1")),
            ("TCP6 :: :: 0 0", sender("[::]:0")),
            (
                "TCP6 2001:db8::7 ::1 40312 4433",
                sender("[2001:db8::7]:40312"),
            ),
            ("TCP6 ::ffff:192.0.2.7 ::1 7 8", sender("192.0.2.7:7")),
            (
                "TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
                sender("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            ("UNKNOWN", Source::Unknown),
            ("UNKNOWN TCP4 whatever\r follows", Source::Unknown),
            (
                "UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
                Source::Unknown,
            ),
        ] {
            let line = format!("PROXY {line}\r\n");
            assert_eq!(read(line.as_bytes()), (source, None), "{line}");
        }
    }

    #[test]
    fn another_line_is_none() {
        for (line, expected) in [
            ("GET / HTTP/1.1\r\n", Fault::NotProxy),
            ("PROXYTCP4", Fault::NotProxy),
            ("\x16\x03\x01", Fault::NotProxy),
            ("proxy UNKNOWN\r\n", Fault::NotProxy),
            ("PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n", malformed("protocol")),
            ("PROXY UNKNOWN\n", malformed("end of line")),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", malformed("end of line")),
            (
                "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
                malformed("end of line"),
            ),
            ("PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n", malformed("address")),
            ("PROXY TCP4 ::1 ::1 1 1\r\n", malformed("address")),
            ("PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", malformed("address")),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", malformed("port")),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", malformed("port")),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n", malformed("port")),
        ] {
            assert_eq!(fault(line.as_bytes()), expected, "{line:?}");
        }
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 93]].concat();
        assert_eq!(long.len(), 107);
        assert_eq!(fault(&long), Fault::TooLong);
        let cut = check(&long[..106]);
        assert_eq!(cut, Ok(Parsed::Incomplete { missing: 1 }));
    }

    #[test]
    fn a_block_names_the_sender() {
        assert_eq!(read(&with(&[])), (sender("192.0.2.7:40312"), None));
        let v4 = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped();
        for (address, shown) in [
            ("2001:db8::7".parse().unwrap(), "[2001:db8::7]:258"),
            (v4, "192.0.2.7:258"),
        ] {
            let address: Ipv6Addr = address;
            let ends = [&address.octets()[..], &[0; 16], &[1, 2, 3, 4]].concat();
            assert_eq!(read(&v2(0x21, 0x21, &ends)), (sender(shown), None));
        }
        for (path, expected) in [
            (&b"/run/a.sock"[..], Some("/run/a.sock".into())),
            (b"", None),
            (b"\0abstract", None),
        ] {
            let mut ends = path.to_vec();
            ends.resize(216, 0);
            let source = Source::Sender(Address::Unix(expected));
            assert_eq!(read(&v2(0x21, 0x31, &ends)), (source, None));
        }
        // Whatever the rest of these is, it is ignored.
        for rest in [&[][..], &[1, 2, 3, 4, 5], &[0xff; 300]] {
            assert_eq!(read(&v2(0x20, 0, rest)), (Source::Proxy, None));
            assert_eq!(read(&v2(0x20, 0x11, rest)), (Source::Proxy, None));
            assert_eq!(read(&v2(0x21, 0, rest)), (Source::Unknown, None));
        }
    }

    #[test]
    fn another_block_is_none() {
        let ends = [0; 12];
        for (block, expected) in [
            (v2(0x11, 0x11, &ends), malformed("version")),
            (v2(0x22, 0x11, &ends), malformed("command")),
            (v2(0x21, 0x41, &ends), malformed("address family")),
            (v2(0x21, 0x13, &ends), malformed("protocol")),
            (v2(0x21, 0x11, &ends[..7]), malformed("address")),
            (v2(0x21, 0x11, &ends[..11]), malformed("port")),
            (v2(0x21, 0x21, &[0; 35]), malformed("port")),
            (v2(0x21, 0x31, &[0; 215]), malformed("address")),
            (with(&[4, 0]), malformed("extension")),
            (with(&[4, 0, 1]), malformed("extension")),
            (with(&tlv(0x20, &[0; 4])), malformed("extension")),
            (with(&tlv(0x20, &[0; 6])), malformed("extension")),
            (with(&tlv(3, &[0; 3])), malformed("extension")),
        ] {
            assert_eq!(fault(&block), expected, "{block:?}");
        }
    }

    #[test]
    fn a_header_may_be_as_long_as_the_limit_and_no_longer() {
        let fixed = with(&[]).len() + 3;
        let most = with(&tlv(4, &vec![0; MAX_HEADER - fixed]));
        assert_eq!(read(&most), (sender("192.0.2.7:40312"), None));
        // It is refused before it is read.
        let over = with(&tlv(4, &vec![0; MAX_HEADER + 1 - fixed]));
        assert_eq!(fault(&over[..16]), Fault::TooLong);
        assert_eq!(fault(&v2(0x20, 0, &[0; 65535])[..16]), Fault::TooLong);
    }

    #[test]
    fn a_checksum_is_compared() {
        let padding = tlv(4, &[7; 5]);
        for (before, after) in [
            (&[][..], &[][..]),
            (&padding, &padding),
            (&[], &ssl(5, 0, b"boiler")),
        ] {
            let good = with_checksum(before, after);
            assert_eq!(read(&good).0, sender("192.0.2.7:40312"));
            for at in 16..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0x80;
                // A bit in a type or a length may hide the checksum.
                if let Ok(Parsed::Complete { .. }) = check(&bad) {
                    assert!(at >= 28, "{at}");
                }
            }
            let mut bad = good;
            bad[16] ^= 1;
            assert_eq!(fault(&bad), Fault::Checksum);
        }
        let twice = [tlv(3, &[0; 4]), tlv(3, &[0; 4])].concat();
        assert!(check(&with(&twice)).is_err());
    }

    #[test]
    fn only_a_verified_certificate_has_a_name() {
        for (client, verify, name, expected) in [
            (7, 0, &b"boiler"[..], Some("boiler")),
            (5, 0, b"boiler", Some("boiler")),
            // No TLS, no certificate in this session, not verified.
            (4, 0, b"boiler", None),
            (1, 0, b"boiler", None),
            (3, 0, b"boiler", None),
            (5, 1, b"boiler", None),
            (5, 0x100_0000, b"boiler", None),
            (5, 0, b"", None),
            (5, 0, b"\xff", None),
        ] {
            let header = with(&ssl(client, verify, name));
            assert_eq!(read(&header).1.as_deref(), expected, "{client} {verify}");
        }
        let twice = [ssl(5, 0, b"a"), ssl(5, 0, b"b")].concat();
        assert!(check(&with(&twice)).is_err());
    }

    fn address() -> impl Strategy<Value = SocketAddr> {
        (any::<std::net::IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_a_header_or_not_however_they_are_read(bytes: Vec<u8>) {
            let _ = check(&bytes);
        }

        #[test]
        fn any_bytes_behind_a_beginning_are_a_header_or_not(
            v1: bool,
            rest in vec(any::<u8>(), 0..400),
        ) {
            let beginning = if v1 { b"PROXY " } else { SIGNATURE };
            let _ = check(&[beginning, &rest].concat());
        }

        #[test]
        fn any_line_of_addresses_is_read_to_its_end_and_no_further(
            source in address(),
            destination in address(),
            behind: Vec<u8>,
        ) {
            let [one, other] = [source, destination].map(|one| one.ip());
            let protocol = if one.is_ipv4() { "TCP4" } else { "TCP6" };
            let ports = (source.port(), destination.port());
            let line = format!("PROXY {protocol} {one} {other} {} {}\r\n", ports.0, ports.1);
            let parsed = check(&[line.as_bytes(), &behind].concat());
            if one.is_ipv4() == other.is_ipv4() {
                let canonical = SocketAddr::new(one.to_canonical(), ports.0);
                prop_assert_eq!(parsed, Ok(Parsed::Complete {
                    header: Header {
                        source: Source::Sender(Address::Ip(canonical)),
                        client_name: None,
                    },
                    len: line.len(),
                }));
            } else {
                prop_assert_eq!(parsed, Err(malformed("address")));
            }
        }

        #[test]
        fn a_damaged_header_is_a_header_or_not(
            checksum: bool,
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            extensions in vec((any::<u8>(), vec(any::<u8>(), 0..20)), 0..4),
        ) {
            let extensions: Vec<u8> = extensions
                .iter()
                .flat_map(|(kind, value)| tlv(*kind, value))
                .chain(ssl(5, 0, b"boiler"))
                .collect();
            let mut header = match checksum {
                true => with_checksum(&extensions, &[]),
                false => with(&extensions),
            };
            for (at, byte) in damage {
                let at = at.index(header.len());
                header[at] = byte;
            }
            let _ = check(&header);
        }
    }
}
