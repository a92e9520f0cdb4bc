//! Any bytes, as a template and a sender that names a file by it. `fuzz/` runs this too.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::{PathTemplate, Template};
use crate::conn::{Conn, ConnId};
use crate::memory::Memory;
use crate::peer::Peer;

/// No UTF-8 text contains this byte.
const END: u8 = 0xff;

/// For any names of a sender, the file is in its directory, or in the folder of a template with `/`,
/// visible, and not taken for an incomplete or old one, and its name leaves room for additions. The bytes are a template, a label, the
/// path of a Unix socket, an IP address and a client's name, each ended by 0xff.
pub(crate) fn check(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == END);
    let mut next = || parts.next().unwrap_or_default();
    let Ok(text) = str::from_utf8(next()) else {
        return;
    };
    let (template, paths) = (text.parse::<Template>(), text.parse::<PathTemplate>());
    let label = String::from_utf8_lossy(next()).into_owned();
    let path = Path::new(OsStr::from_bytes(next()));
    let mut address = [0; 16];
    for (byte, given) in address.iter_mut().zip(next()) {
        *byte = *given;
    }
    let address = IpAddr::from(Ipv6Addr::from(address));
    let client = String::from_utf8_lossy(next()).into_owned();

    for peer in [
        Peer::label(label),
        Peer::unix(Some(path)),
        Peer::from(std::net::SocketAddr::from((address, u16::MAX))),
    ] {
        for peer in [peer.clone(), peer.named(client.clone())] {
            let connection = Conn::new(ConnId(u64::MAX), peer, Memory::new(0));
            if let Ok(template) = &template {
                is_safe(&template.name(&connection, UNIX_EPOCH));
            }
            if let Ok(paths) = &paths {
                let path = paths.path(&connection, UNIX_EPOCH, UNIX_EPOCH);
                assert_eq!(path.matches('/').count(), text.matches('/').count());
                for (at, part) in path.split('/').enumerate() {
                    is_safe_part(part);
                    // Longer ones may have been cut off.
                    assert!(
                        part.len() > 212 || paths.may_make(at, part),
                        "{text:?} {part:?}"
                    );
                }
            }
        }
    }
}

fn is_safe(name: &str) {
    let directory = Path::new("/directory");
    let file = directory.join(name);
    assert_eq!(file.parent(), Some(directory), "{name:?}");
    assert_eq!(file.file_name(), Some(OsStr::new(name)), "{name:?}");
    assert!(!name.contains(char::is_control), "{name:?}");
    // The name is neither hidden nor an option.
    assert!(!name.starts_with(['.', '-']), "{name:?}");
    assert!(!name.to_lowercase().ends_with(".part"), "{name:?}");
    // The longest name of a file (NAME_MAX) has 255 bytes.
    assert!(format!("{name}-{}.part", u32::MAX).len() <= 255, "{name:?}");
}

/// As above, for a part of a path: it is also not taken for another file's old one.
fn is_safe_part(name: &str) {
    is_safe(name);
    let name = name.to_lowercase();
    assert!(!name.ends_with(".zst"), "{name:?}");
    assert!(
        !name.contains(".bad-") && !name.contains(".cut-"),
        "{name:?}"
    );
    assert!(!name.ends_with(".19700101t000000z"), "{name:?}");
    let added = format!(".bad-20261127T101010Z-{}.zst.part", u32::MAX);
    assert!(name.len() + added.len() - "bad-".len() <= 255, "{name:?}");
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::{END, check};

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_sender_gets_a_file_with_a_safe_name(
            template in template(),
            label in value(),
            path in value(),
            address: [u8; 16],
            client in value(),
        ) {
            let address = address.map(|byte| byte % END);
            check(&[template.as_bytes(), &label, &path, &address, &client].join(&END));
        }
    }

    fn template() -> impl Strategy<Value = String> {
        let part = select(vec![
            "{client}",
            "{peer}",
            "{port}",
            "{time}",
            "{conn}",
            ".",
            ".pa",
            "rt",
            "x",
            "-",
            "é",
            "/",
            "{date}",
            "{hour}",
            "{stream}",
            ".bad",
            ".19700101T000000Z",
        ]);
        prop_oneof![
            9 => vec(part, 1..5).prop_map(|parts| parts.concat()),
            1 => any::<String>(),
        ]
    }

    /// Parts, many of which have a meaning in a file's name.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let meaning = select(vec![
            ".",
            "..",
            "-",
            "/",
            "\\",
            ".part",
            ".PART",
            "a",
            "%2E",
            "\0",
            "\n",
            " ",
            "\u{202e}",
            ".zst",
            ".bad-",
            ".CUT-",
            ".19700101T000000Z",
        ]);
        let part = prop_oneof![
            3 => meaning.prop_map(|part| part.as_bytes().to_vec()),
            1 => any::<char>().prop_map(|part| part.to_string().into_bytes()),
            1 => (0..END, 1..200_usize).prop_map(|(byte, count)| vec![byte; count]),
        ];
        vec(part, 0..7).prop_map(|parts| parts.concat())
    }
}
