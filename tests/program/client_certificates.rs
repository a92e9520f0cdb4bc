//! Senders that are admitted, with their names, and senders that are refused, with the messages.
//! Certificates and the binary are real, and senders use rustls and OpenSSL with TLS 1.2 and 1.3.

#![cfg(all(
    feature = "cli",
    feature = "gzip",
    feature = "zlib",
    feature = "deflate",
    feature = "zstd",
    feature = "qt"
))]

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CidrSubnet, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints,
};
use rustls::client::ResolvesClientCert;
use rustls::sign::{CertifiedKey, Signer, SigningKey, any_supported_type};
use rustls::{SignatureAlgorithm, SignatureScheme};
use tempfile::TempDir;

use crate::common::authority::{
    Authority, Credentials, Subtree, constrains_uris, dns, excludes_dns, expires, ip, lasts, mail,
    permits_dns, uri,
};
use crate::common::client;
use crate::common::program::{Client, FREE, Program, Version, run_if_installed, tcp};
use crate::common::skip::missing;

#[test]
fn a_sender_is_called_by_its_first_dns_name_uri_mail_address_common_name_or_ip_address() {
    let ca = Authority::new("Plant CA");
    let everything = [
        ip("192.0.2.7"),
        mail("m@x.example"),
        uri("urn:u"),
        dns("d.example"),
    ];
    for (common_name, names, called) in [
        (
            "c",
            &[dns("one.example"), dns("two.example")][..],
            "one.example",
        ),
        (
            "c",
            &[uri("spiffe://x.example/two")],
            "spiffe://x.example/two",
        ),
        ("c", &[mail("three@x.example")], "three@x.example"),
        ("four", &[], "four"),
        // The order of the names in the certificate makes no difference.
        ("c", &everything, "d.example"),
        ("c", &everything[..3], "urn:u"),
        ("c", &everything[..2], "m@x.example"),
        ("c", &everything[..1], "c"),
        ("", &everything[..1], "192.0.2.7"),
        ("", &[ip("2001:db8::7")], "2001:db8::7"),
        ("", &[dns("*.x.example")], "*.x.example"),
    ] {
        is_called(&Setup::new(&[&ca]), &ca.sender(common_name, names), called);
    }
}

#[test]
fn a_common_name_may_be_any_kind_of_string() {
    let ca = Authority::new("Plant CA");
    let values = [
        DnValue::Utf8String("Kessel 7".to_owned()),
        DnValue::PrintableString("Kessel 7".try_into().unwrap()),
        DnValue::Ia5String("Kessel 7".try_into().unwrap()),
        DnValue::TeletexString("Kessel 7".try_into().unwrap()),
        DnValue::BmpString("Kessel 7".try_into().unwrap()),
        DnValue::UniversalString("Kessel 7".try_into().unwrap()),
    ];
    for value in values {
        let sender = ca.sender_with("", &[], |params| {
            params.distinguished_name.push(DnType::CommonName, value);
        });
        let mut setup = Setup::new(&[&ca]);
        setup.args(&["--allow-client", "Kessel 7"]);
        is_called(&setup, &sender, "Kessel\\x207");
    }
}

/// x509-cert can't parse a certificate with a UniversalString. Its other names are still read.
#[test]
fn a_universal_string_hides_neither_other_names_nor_the_cas() {
    let wide = |text: &str| DnValue::UniversalString(text.try_into().unwrap());
    let ca = Authority::with("", |params| {
        params
            .distinguished_name
            .push(DnType::CommonName, wide("Wide CA"));
    });
    let sender = ca.sender_with("", &[mail("m@x.example"), ip("192.0.2.7")], |params| {
        params
            .distinguished_name
            .push(DnType::CommonName, wide("Kessel"));
    });
    is_called(&Setup::new(&[&ca]), &sender, "m@x.example");
    Refused {
        trusted: &[&Authority::new("Plant CA")],
        hint: UNKNOWN_CA,
        ..Refused::new(
            "unknown CA \"CN=Wide CA\"; \
             the sender claims to be \"m@x.example\", \"Kessel\", \"192.0.2.7\"",
        )
    }
    .check(Some(&sender));
    // The certificate is not a CA's, so it can't admit senders.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leaf.pem");
    fs::write(&path, sender.split_pem().0).unwrap();
    let outcome = Program::run(&["-l", FREE, "--client-ca", path.to_str().unwrap()]);
    assert!(
        outcome.stderr.contains("no CA certificate found"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn an_ip_address_is_allowed_in_any_form() {
    let ca = Authority::new("Plant CA");
    let sender = ca.sender("c", &[dns("d.example"), ip("10.0.0.7"), ip("2001:db8::7")]);
    let common_name = ca.sender("2001:DB8::7", &[]);
    for (allowed, sender, called) in [
        ("10.0.0.7", &sender, "10.0.0.7"),
        ("2001:db8::7", &sender, "2001:db8::7"),
        ("2001:0DB8:0:0:0::0007", &sender, "2001:db8::7"),
        ("[2001:db8::7]", &sender, "2001:db8::7"),
        // A common name that looks like an IP address is compared as text.
        ("2001:DB8::7", &common_name, "2001:DB8::7"),
    ] {
        let mut setup = Setup::new(&[&ca]);
        setup.args(&["--allow-client", allowed]);
        is_called(&setup, sender, called);
    }
    for allowed in ["10.0.0.70", "::ffff:10.0.0.7", "2001:db8::70"] {
        Refused {
            trusted: &[&ca],
            args: &["--allow-client", allowed, "--allow-client", HONEST],
            ..Refused::new(
                "name not allowed; the sender claims to be \"d.example\", \"c\", \"10.0.0.7\" \
                 and more",
            )
        }
        .check(Some(&sender));
    }
}

/// An IP address must satisfy the constraints. A URI that looks like one is not shown as a name, as
/// the constraints say nothing about it.
#[test]
fn name_constraints_on_ip_addresses_are_kept() {
    let ca = Authority::new("Plant CA");
    let line = ca.below("Line CA", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::IpAddress(CidrSubnet::V4(
                [10, 0, 0, 0],
                [255, 0, 0, 0],
            ))],
            excluded_subtrees: Vec::new(),
        });
    });
    is_called(
        &Setup::new(&[&ca]),
        &line.sender("c", &[ip("10.0.0.7")]),
        "10.0.0.7",
    );
    for address in ["11.0.0.7", "fd00::7"] {
        Refused {
            trusted: &[&ca],
            ..Refused::new(&format!(
                "a CA above the certificate may not sign for its names; \
                 the sender claims to be \"{address}\""
            ))
        }
        .check(Some(&line.sender("", &[ip(address)])));
    }
    let uri = line.sender("", &[uri("fd00::7")]);
    is_called(&Setup::new(&[&ca]), &uri, "");
}

#[test]
fn the_allowed_name_of_a_sender_is_the_one_that_is_shown() {
    let ca = Authority::new("Plant CA");
    let names = [
        dns("a.x.example"),
        dns("B.Sub.Y.example"),
        uri("urn:Some:thing"),
        mail("Me@x.example"),
    ];
    let sender = ca.sender("The Boiler", &names);
    for (allowed, called) in [
        (&["a.x.example"][..], "a.x.example"),
        (&["A.X.EXAMPLE"], "a.x.example"),
        (&["b.sub.y.example"], "B.Sub.Y.example"),
        (&["*.y.example"], "B.Sub.Y.example"),
        (&["*.SUB.y.Example"], "B.Sub.Y.example"),
        (&["*.example"], "a.x.example"),
        (&["urn:Some:thing"], "urn:Some:thing"),
        (&["Me@x.example"], "Me@x.example"),
        (&["The Boiler"], "The\\x20Boiler"),
        // Of several allowed names, the first in the certificate is shown.
        (
            &["The Boiler", "urn:Some:thing", "*.z.example"],
            "urn:Some:thing",
        ),
    ] {
        let mut setup = Setup::new(&[&ca]);
        for name in allowed {
            setup.args(&["--allow-client", name]);
        }
        is_called(&setup, &sender, called);
    }
}

#[test]
fn a_name_that_is_almost_allowed_is_refused() {
    let ca = Authority::new("Plant CA");
    for (allowed, common_name, names, claim) in [
        (
            "a.x.example",
            "",
            &[dns("b.a.x.example")][..],
            "\"b.a.x.example\"",
        ),
        ("*.x.example", "", &[dns("x.example")], "\"x.example\""),
        (
            "*.x.example",
            "",
            &[dns("bad-x.example")],
            "\"bad-x.example\"",
        ),
        // A wildcard in a certificate matches nothing.
        ("*.x.example", "", &[dns("*.x.example")], "\"*.x.example\""),
        ("a.x.example", "", &[dns("*.x.example")], "\"*.x.example\""),
        // Only DNS names match wildcards, and only they are compared without regard to case.
        ("*.x.example", "a.x.example", &[], "\"a.x.example\""),
        ("urn:a", "", &[uri("urn:A")], "\"urn:A\""),
        (
            "none.example",
            "e",
            &[
                dns("a.example"),
                dns("b.example"),
                uri("urn:c"),
                mail("d@x.example"),
            ],
            "\"a.example\", \"b.example\", \"urn:c\" and more",
        ),
        ("a", "say \"hi\"\n\x1b[2J", &[], r#""say 'hi'\x0a\x1b[2J""#),
    ] {
        let args = ["--allow-client", allowed, "--allow-client", HONEST];
        Refused {
            trusted: &[&ca],
            args: &args,
            ..Refused::new(&format!(
                "name not allowed; the sender claims to be {claim}"
            ))
        }
        .check(Some(&ca.sender(common_name, names)));
    }
    let nobody = ca.sender("", &[]);
    Refused {
        trusted: &[&ca],
        args: &["--allow-client", HONEST],
        ..Refused::new("name not allowed; the sender has no name")
    }
    .check(Some(&nobody));
}

#[test]
fn a_hostile_name_stays_one_escaped_word() {
    let ca = Authority::new("Plant CA");
    let hostile = "a b\n\x1b[2J@192.0.2.1:1: 5 bytes received, 5 delivered, plain, clean\r\n";
    let escaped = "a\\x20b\\x0a\\x1b[2J@192.0.2.1:1:\\x205\\x20bytes\\x20received,\\x205\\x20\
                   delivered,\\x20plain,\\x20clean\\x0d\\x0a";
    for (common_name, names) in [(hostile, &[][..]), ("", &[mail(hostile)])] {
        is_called(&Setup::new(&[&ca]), &ca.sender(common_name, names), escaped);
    }
    let uri = uri(&format!("urn:{hostile}"));
    is_called(
        &Setup::new(&[&ca]),
        &ca.sender("", &[uri]),
        &format!("urn:{escaped}"),
    );
    // Names with spaces and direction controls beyond ASCII, and a name too long for a label.
    let wide = ca.sender("x\u{3000}y\u{a0}\u{202e}z", &[]);
    is_called(&Setup::new(&[&ca]), &wide, "x\\u{3000}y\\u{a0}\\u{202e}z");
    let long = ca.sender(&"ü".repeat(200), &[]);
    is_called(&Setup::new(&[&ca]), &long, &("ü".repeat(128) + "…"));
}

#[test]
fn no_certificate_is_refused() {
    let ca = Authority::new("Plant CA");
    Refused {
        trusted: &[&ca],
        hint: NO_CERTIFICATE,
        ..Refused::new("no certificate")
    }
    .check(None);
}

/// TLS 1.3 has the alert certificate_required (RFC 8446, section 6.2), and TLS 1.2 has not (RFC
/// 5246, section 7.2.2).
#[test]
fn a_missing_certificate_is_answered_by_an_alert_that_the_version_has() {
    let ca = Authority::new("Plant CA");
    for (version, alert) in [
        (&client::TLS12, "HandshakeFailure"),
        (&client::TLS13, "CertificateRequired"),
    ] {
        let program = Setup::new(&[&ca]).start(&[]);
        let tcp = tcp(program.address()).unwrap();
        let refused = Client::over(tcp, client::config(version), "localhost")
            .and_then(|client| client.finish());
        let said = refused.unwrap_err().to_string();
        assert_eq!(said, format!("received fatal alert: {alert}"));
    }
}

#[test]
fn a_certificate_of_an_unknown_ca_is_refused_and_the_ca_named() {
    let ca = Authority::new("Plant CA");
    let other = Authority::new("Other CA");
    let check = |unknown: &str, sender: &Credentials| {
        Refused {
            trusted: &[&ca],
            hint: UNKNOWN_CA,
            ..Refused::new(&format!(
                "unknown CA \"CN={unknown}\"; the sender claims to be \"a.example\""
            ))
        }
        .check(Some(sender));
    };
    check("Other CA", &other.sender("", &[dns("a.example")]));
    // The message names the missing CA, which issued the topmost presented certificate.
    let line = other.below("Other Line CA", |_| {});
    check("Other CA", &line.sender("", &[dns("a.example")]));
    let line = ca.below("Line CA", |_| {});
    let mut alone = line.sender("", &[dns("a.example")]);
    alone.chain.truncate(1);
    alone.chain_pem.truncate(alone.split_pem().0.len());
    check("Line CA", &alone);

    let namesake = Authority::new("Plant CA");
    let forged = {
        let mut forged = ca.sender("", &[dns("a.example")]);
        *forged.chain[0].0.last_mut().unwrap() ^= 1;
        forged
    };
    for (sender, openssl) in [
        (namesake.sender("", &[dns("a.example")]), true),
        (forged, false),
    ] {
        Refused {
            trusted: &[&ca],
            hint: ANOTHER_CA,
            openssl,
            ..Refused::new(
                "a signature is not by the key of CA \"CN=Plant CA\"; \
                 the sender claims to be \"a.example\"",
            )
        }
        .check(Some(&sender));
    }
}

/// Names in two encodings are the same to people and to RFC 5280, but are compared byte by byte.
#[test]
fn a_cas_name_in_another_encoding_is_told_from_an_unknown_one() {
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = |name: DnValue| {
        let key = Arc::new(rcgen::KeyPair::try_from(key.serialize_der()).unwrap());
        Authority::with_key("", key, |params| {
            params.distinguished_name.push(DnType::CommonName, name);
        })
    };
    let utf8 = authority(DnValue::Utf8String("Plant CA".to_owned()));
    for other in [
        DnValue::PrintableString("Plant CA".try_into().unwrap()),
        DnValue::UniversalString("Plant CA".try_into().unwrap()),
        DnValue::Utf8String("plant  ca".to_owned()),
    ] {
        Refused {
            trusted: &[&authority(other)],
            hint: ENCODING,
            ..Refused::new(
                "CA \"CN=Plant CA\" has its name written or encoded in another way itself; \
                 the sender claims to be \"a.example\"",
            )
        }
        .check(Some(&utf8.sender("", &[dns("a.example")])));
    }
    Refused {
        trusted: &[&Authority::new("Plant CB")],
        hint: UNKNOWN_CA,
        ..Refused::new("unknown CA \"CN=Plant CA\"; the sender claims to be \"a.example\"")
    }
    .check(Some(&utf8.sender("", &[dns("a.example")])));
}

/// A key of another kind must not be reported as an unsupported signature, nor a wrong key of an
/// intermediate CA as one of the CA above it.
#[test]
fn a_ca_with_another_key_is_named_anywhere_in_the_path_and_with_any_kind_of_key() {
    let ca = Authority::new("Plant CA");
    let sender = ca.sender("", &[dns("a.example")]);
    for kind in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let key = Arc::new(rcgen::KeyPair::generate_for(kind).unwrap());
        Refused {
            trusted: &[&Authority::with_key("Plant CA", key, |_| {})],
            hint: ANOTHER_CA,
            ..Refused::new(
                "a signature is not by the key of CA \"CN=Plant CA\"; \
                 the sender claims to be \"a.example\"",
            )
        }
        .check(Some(&sender));
    }
    let mut renewed = ca.below("Line CA", |_| {}).sender("", &[dns("a.example")]);
    let other = ca.below("Line CA", |_| {}).sender("", &[]);
    renewed.chain_pem = renewed.split_pem().0.to_owned() + other.split_pem().1;
    renewed.chain = certificates(&renewed.chain_pem);
    Refused {
        trusted: &[&ca],
        hint: "senders must present the certificate of that CA that has the key which signed",
        ..Refused::new(
            "a signature is not by the key of CA \"CN=Line CA\"; \
             the sender claims to be \"a.example\"",
        )
    }
    .check(Some(&renewed));
}

#[test]
fn a_self_signed_certificate_is_distinguished_from_one_of_an_unknown_ca() {
    let ca = Authority::new("Plant CA");
    let own = Authority::with("Boiler", |params| {
        params.is_ca = IsCa::NoCa;
        params.key_usages.clear();
    });
    Refused {
        trusted: &[&ca],
        hint: "senders need one that a CA trusted here has signed, or to be trusted by this one",
        ..Refused::new("the certificate is self-signed; the sender claims to be \"Boiler\"")
    }
    .check(Some(&own.own()));
    // Some instructions give a certificate the name of its CA, though it is not self-signed.
    let sender = Authority::new("Boiler").sender("Boiler", &[]);
    Refused {
        trusted: &[&ca],
        hint: UNKNOWN_CA,
        ..Refused::new("unknown CA \"CN=Boiler\"; the sender claims to be \"Boiler\"")
    }
    .check(Some(&sender));
}

/// The fault may be in the certificate of a CA above.
#[test]
fn a_fault_is_reported_for_the_certificate_that_has_it() {
    let ca = Authority::new("Plant CA");
    let names = &[dns("a.example")];
    let for_servers = ca.below("Line CA", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let critical = ca.below("Line CA", |params| {
        let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 36], vec![0x30, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    });
    let one = ca.below("Line CA", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    });
    let two_below = one.below("First CA", |_| {}).below("Second CA", |_| {});
    let mut deep = ca.below("CA 0", |_| {});
    for number in 1..7 {
        deep = deep.below(&format!("CA {number}"), |_| {});
    }
    for (sender, said, hint) in [
        (
            for_servers.sender("", names),
            "the certificate of CA \"CN=Line CA\" is not for clients",
            "its extended key usage must include clientAuth",
        ),
        (
            critical.sender("", names),
            "the certificate of CA \"CN=Line CA\" has the critical extension \
             2.5.29.36 (id-ce-policyConstraints), which is not supported",
            "",
        ),
        (
            two_below.sender("", names),
            "more CAs stand below CA \"CN=Line CA\" than its path length constraint, 1, allows",
            "",
        ),
        (
            deep.sender("", names),
            "more than 6 CAs stand between the certificate and a trusted one",
            "",
        ),
    ] {
        Refused {
            trusted: &[&ca],
            hint,
            ..Refused::new(&format!("{said}; the sender claims to be \"a.example\""))
        }
        .check(Some(&sender));
    }
    // An unrelated certificate among the others is not blamed.
    let critical = |params: &mut rcgen::CertificateParams| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    };
    let stranger = Authority::with("Stranger", critical);
    let mut sender = Authority::new("Other CA").sender("", names);
    sender.chain_pem.push_str(&stranger.pem());
    sender.chain = certificates(&sender.chain_pem);
    let mut rooted = Authority::with("Other CA", critical);
    let with_root = |root: &mut Authority| {
        let mut sender = root.sender("", names);
        sender.chain_pem.push_str(&root.pem());
        sender.chain = certificates(&sender.chain_pem);
        sender
    };
    for sender in [sender, with_root(&mut rooted)] {
        Refused {
            trusted: &[&ca],
            hint: UNKNOWN_CA,
            ..Refused::new("unknown CA \"CN=Other CA\"; the sender claims to be \"a.example\"")
        }
        .check(Some(&sender));
    }
}

/// A signature by a key of an unsupported kind can't be verified, be it the sender's key or a CA's.
#[test]
fn a_key_that_is_not_supported_is_named_with_those_that_are() {
    let ca = Authority::new("Plant CA");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
    fs::write(folder.path().join("ca.key"), ca.own().key_pem()).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (make_key, kind) in [
        ("ecparam -genkey -noout -name secp521r1", "P-521"),
        (
            "ecparam -genkey -noout -name brainpoolP256r1",
            "brainpoolP256r1",
        ),
        ("ecparam -genkey -noout -name secp256k1", "secp256k1"),
        ("genrsa 1024", "RSA of 1024 bits"),
        ("genpkey -algorithm ed448", "Ed448"),
        (
            "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
            "RSASSA-PSS",
        ),
    ] {
        let digest = if kind == "Ed448" { "" } else { "-sha256" };
        let mut openssl = Command::new("sh");
        openssl.current_dir(&folder).arg("-ec").arg(format!(
            "openssl {make_key} >own.key
             echo subjectAltName=DNS:a.example >san
             openssl req -new -key own.key -subj /CN=own {digest} -out own.csr
             openssl x509 -req -in own.csr -CA ca.pem -CAkey ca.key -set_serial 7 -extfile san \
                 -sha256 -out own.pem
             openssl req -x509 -key own.key -subj /CN=Odd {digest} -out odd.pem
             openssl ecparam -genkey -noout -name prime256v1 >below.key
             openssl req -new -key below.key -subj /CN=own -out below.csr
             openssl x509 -req -in below.csr -CA odd.pem -CAkey own.key -set_serial 7 -extfile san \
                 {digest} -out below.pem"
        ));
        let made = run_if_installed(&mut openssl, b"");
        if made.is_none_or(|made| !made.status.success()) {
            eprintln!("skipped: openssl is not installed, or makes no such keys");
            continue;
        }
        let send = |trusted: &str, own: &str, version| {
            let program = Program::start(&["--client-ca", &path(trusted)]);
            let mut openssl = Command::new("openssl");
            openssl
                .args([
                    "s_client",
                    "-connect",
                    &program.address().to_string(),
                    version,
                ])
                .args(["-cipher", "DEFAULT@SECLEVEL=0", "-quiet", "-no_ign_eof"])
                .args(["-cert", &path(&format!("{own}.pem"))])
                .args(["-key", &path(&format!("{own}.key"))]);
            run_if_installed(&mut openssl, b"hello\n");
            program.wait_for_line(|line| line.contains(": refused"));
            let outcome = program.stop();
            assert_eq!(outcome.stdout_text(), "");
            let warning = format!(
                "tlsink: key of CA Odd in {} is {kind}, which is not supported\nhint: every \
                 sender that it signed for is refused: {KEYS}\n",
                path("odd.pem")
            );
            let is_warned = outcome.stderr.starts_with(&warning);
            assert_eq!(is_warned, trusted == "odd.pem", "{}", outcome.stderr);
            let said = outcome.stderr.lines().map(without_peer);
            let said: Vec<_> = said.filter(|line| line.contains(": refused")).collect();
            let mut lines = outcome.stderr.lines();
            lines.find(|line| line.contains(": refused"));
            (said.join("\n"), lines.next().unwrap().to_owned())
        };
        let refused = |what: &str| {
            format!(
                "tlsink: PEER: refused ({what}; the sender claims to be \"a.example\", \"own\")"
            )
        };
        let own = refused(&format!(
            "the certificate's key is {kind}, which is not supported"
        ));
        let above = refused(&format!(
            "the key of CA \"CN=Odd\" is {kind}, which is not supported"
        ));
        let keys = format!("hint: {KEYS}");
        let none = (
            "tlsink: PEER: refused (no certificate)".to_owned(),
            format!("hint: {NO_CERTIFICATE}"),
        );
        for version in ["-tls1_2", "-tls1_3"] {
            // In TLS 1.3, a sender presents no certificate if its kind of signature is not accepted
            // here. In TLS 1.2, this holds only for keys with a single kind of signature.
            let presents = kind.starts_with("RSA of")
                || version == "-tls1_2" && !["Ed448", "RSASSA-PSS"].contains(&kind);
            let expected = match presents {
                true => (own.clone(), keys.clone()),
                false => none.clone(),
            };
            assert_eq!(
                send("ca.pem", "own", version),
                expected,
                "{kind}, {version}"
            );
            let expected = (above.clone(), keys.clone());
            assert_eq!(
                send("odd.pem", "below", version),
                expected,
                "{kind}, {version}"
            );
        }
    }
}

/// The sender has the right key, but signs by another scheme.
#[test]
fn a_signature_by_a_scheme_that_was_not_offered_is_reported_as_such() {
    struct Odd(Box<dyn Signer>);
    struct OddKey(Arc<dyn SigningKey>);
    struct Only(Arc<CertifiedKey>);

    impl Signer for Odd {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
            self.0.sign(message)
        }

        fn scheme(&self) -> SignatureScheme {
            SignatureScheme::ECDSA_NISTP521_SHA512
        }
    }

    impl SigningKey for OddKey {
        fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
            let signer = self.0.choose_scheme(offered)?;
            Some(Box::new(Odd(signer)))
        }

        fn algorithm(&self) -> SignatureAlgorithm {
            self.0.algorithm()
        }
    }

    impl ResolvesClientCert for Only {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    let ca = Authority::new("Plant CA");
    let sender = ca.sender("", &[dns("a.example")]);
    let key = rustls::PrivateKey(sender.key.serialize_der());
    let key = Arc::new(OddKey(any_supported_type(&key).unwrap()));
    let certified = Arc::new(CertifiedKey::new(sender.chain, key));
    let program = Setup::new(&[&ca]).start(&[]);
    for version in Version::ALL {
        let mut config = client::config(version.of_rustls());
        config.client_auth_cert_resolver = Arc::new(Only(certified.clone()));
        let tcp = tcp(program.address()).unwrap();
        let peer = tcp.local_addr().unwrap();
        if let Ok(client) = Client::over(tcp, config, "localhost") {
            assert!(client.finish().is_err());
        }
        program.wait_for_line(|line| {
            line == format!(
                "tlsink: {peer}: refused \
                 (the sender signed the handshake by a scheme that was not offered)"
            )
        });
    }
}

#[test]
fn a_certificate_before_or_after_its_time_is_refused_with_the_day() {
    let ca = Authority::new("Plant CA");
    let names = &[dns("a.example")];
    let clock = "if that day has come, a clock is wrong";
    let old_line = ca.below("Old Line CA", expires);
    let new_line = ca.below("New Line CA", begins_in_2049);
    for (sender, said, hint) in [
        (
            ca.sender_with("", names, expires),
            "the certificate expired on 2021-02-03",
            "",
        ),
        (
            old_line.sender("", names),
            "the certificate of CA \"CN=Old Line CA\" expired on 2021-02-03",
            "",
        ),
        (
            ca.sender_with("", names, begins_in_2049),
            "the certificate is not valid before 2049-03-04",
            clock,
        ),
        (
            new_line.sender("", names),
            "the certificate of CA \"CN=New Line CA\" is not valid before 2049-03-04",
            clock,
        ),
    ] {
        Refused {
            trusted: &[&ca],
            hint,
            ..Refused::new(&format!("{said}; the sender claims to be \"a.example\""))
        }
        .check(Some(&sender));
    }
}

#[test]
fn a_revoked_certificate_is_refused_its_own_or_that_of_a_ca_above_it() {
    let ca = Authority::new("Plant CA");
    let line = ca.below("Line CA", |_| {});
    let names = &[dns("a.example")];
    let sender = line.sender("", names);
    let another = ca.sender("", &[dns("b.example")]);
    for (lists, said) in [
        (
            [ca.crl(&[&another.serial]), line.crl(&[&sender.serial])],
            "the certificate is revoked",
        ),
        (
            [ca.crl(&[&another.serial, &line.serial()]), line.crl(&[])],
            "the certificate of CA \"CN=Line CA\" is revoked",
        ),
    ] {
        Refused {
            trusted: &[&ca],
            lists: &lists,
            ..Refused::new(&format!("{said}; the sender claims to be \"a.example\""))
        }
        .check(Some(&sender));
        let mut setup = Setup::new(&[&ca]);
        lists.iter().for_each(|list| setup.list(list));
        if said == "the certificate is revoked" {
            is_called(&setup, &line.sender("", names), "a.example");
        }
    }
}

/// The newest list counts even if an older one expires later.
#[test]
fn of_several_lists_of_a_ca_the_newest_counts() {
    let ca = Authority::new("Plant CA");
    let sender = ca.sender("", &[dns("a.example")]);
    let old = ca.crl_with(&[], -20..=100);
    let new = ca.crl_with(&[&sender.serial], -1..=50);
    // Lists are numbered in the order in which they are made.
    let [first, second] = [&[][..], &[&sender.serial]]
        .map(|revoked| ca.list(revoked, JANUARY..=JANUARY * 100).pem().unwrap());
    for lists in [
        [old.clone(), new.clone()],
        [new.clone(), old.clone()],
        [old + &new, String::new()],
        [first.clone(), second.clone()],
        [second, first],
    ] {
        let lists: Vec<_> = lists.into_iter().filter(|list| !list.is_empty()).collect();
        Refused {
            trusted: &[&ca],
            lists: &lists,
            ..Refused::new("the certificate is revoked; the sender claims to be \"a.example\"")
        }
        .check(Some(&sender));
    }
}

#[test]
fn a_ca_without_a_current_list_is_named() {
    let ca = Authority::new("Plant CA");
    let other = Authority::new("Other CA");
    let line = ca.below("Line CA", |_| {});
    let own = ca.sender("", &[dns("a.example")]);
    let sender = line.sender("", &[dns("a.example")]);
    for (lists, sender, ca_named) in [
        (&[other.crl(&[])][..], &own, "Plant CA"),
        (&[other.crl(&[])], &sender, "Line CA"),
        (&[ca.crl(&[])], &sender, "Line CA"),
        (&[line.crl(&[])], &sender, "Plant CA"),
    ] {
        Refused {
            trusted: &[&ca],
            lists,
            hint: "once there is one list, each CA above a sender needs its own",
            ..Refused::new(&format!(
                "CRL missing for \"CN={ca_named}\"; the sender claims to be \"a.example\""
            ))
        }
        .check(Some(sender));
    }

    let over = |authority: &Authority| authority.list(&[], JANUARY..=FEBRUARY).pem().unwrap();
    for (lists, sender, ca_named) in [
        // The list of an unrelated CA, which expired at the same time, is not named.
        (&[over(&other), over(&ca)][..], &own, "Plant CA"),
        (&[over(&line), ca.crl(&[])], &sender, "Line CA"),
        (&[line.crl(&[]), over(&ca)], &sender, "Plant CA"),
    ] {
        Refused {
            trusted: &[&ca, &other],
            lists,
            hint: "get the CA's new list",
            ..Refused::new(&format!(
                "the CRL of \"CN={ca_named}\" expired on 2021-02-03; \
                 the sender claims to be \"a.example\""
            ))
        }
        .check(Some(sender));
    }
}

#[test]
fn a_list_that_its_ca_has_not_signed_does_not_count() {
    let ca = Authority::new("Plant CA");
    let namesake = Authority::new("Plant CA");
    Refused {
        trusted: &[&ca],
        lists: &[namesake.crl(&[])],
        hint: "CAs that share a name, such as one that got a new key, each need their own list, and \
               have to be trusted each",
        ..Refused::new(
            "no CRL is signed by the key of CA \"CN=Plant CA\"; \
             the sender claims to be \"a.example\"",
        )
    }
    .check(Some(&ca.sender("", &[dns("a.example")])));
}

/// A trusted certificate that is not a CA's admits only its own sender.
#[test]
fn a_trusted_self_signed_certificate_admits_nobody_else() {
    for kind in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        let own = Authority::with("Boiler", |params| {
            params.is_ca = kind;
            params.key_usages.clear();
        });
        is_called(&Setup::new(&[&own]), &own.own(), "Boiler");
        // It admits neither another key, nor another name for its own key.
        for forged in [
            own.sender("", &[dns("a.example")]),
            own.sign(own.own().key, "", &[dns("a.example")], |_| {}),
        ] {
            Refused {
                trusted: &[&own],
                ..Refused::new(
                    "the certificate is signed by \"CN=Boiler\", whose certificate is no CA's; \
                     the sender claims to be \"a.example\"",
                )
            }
            .check(Some(&forged));
        }
    }
}

#[test]
fn a_certificate_of_the_wrong_kind_is_refused_with_an_explanation() {
    let ca = Authority::new("Plant CA");
    let names = &[dns("a.example")];
    let server = ca.sender_with("", names, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let critical = ca.sender_with("", names, |params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    });
    let leaf = ca.below("Leaf", |params| params.is_ca = IsCa::ExplicitNoCa);
    let last = ca.below("Last CA", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let damaged = {
        let mut damaged = ca.sender("", names);
        let half = damaged.chain[0].0.len() / 2;
        damaged.chain[0].0.truncate(half);
        damaged
    };
    let claim = "; the sender claims to be \"a.example\"";
    for (sender, said, claim, hint, openssl) in [
        (
            server,
            "the certificate is not for clients",
            claim,
            "its extended key usage must include clientAuth",
            true,
        ),
        (
            ca.own(),
            "the certificate is a CA's own",
            "; the sender claims to be \"Plant CA\"",
            "senders need one that a CA signed for them",
            true,
        ),
        (
            Authority::new("Other CA").own(),
            "the certificate is a CA's own",
            "; the sender claims to be \"Other CA\"",
            "senders need one that a CA signed for them",
            true,
        ),
        (
            leaf.sender("", names),
            "the certificate is signed by \"CN=Leaf\", whose certificate is no CA's",
            claim,
            "",
            true,
        ),
        (
            last.below("Sub CA", |_| {}).sender("", names),
            "more CAs stand below CA \"CN=Last CA\" than its path length constraint, 0, allows",
            claim,
            "",
            true,
        ),
        (
            critical,
            "the certificate has the critical extension 1.2.3.4, which is not supported",
            "",
            "",
            true,
        ),
        (damaged, "the certificate is damaged", "", "", false),
        (
            ca.sender("", names).stolen(),
            "the sender does not hold the certificate's key",
            claim,
            "its certificate and its key must belong together",
            // OpenSSL notices the wrong key itself.
            false,
        ),
        // A key of another kind is wrong, too.
        (
            Credentials {
                key: Arc::new(rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()),
                ..ca.sender("", names)
            },
            "the sender does not hold the certificate's key",
            claim,
            "its certificate and its key must belong together",
            false,
        ),
    ] {
        Refused {
            trusted: &[&ca],
            hint,
            openssl,
            ..Refused::new(&format!("{said}{claim}"))
        }
        .check(Some(&sender));
    }
}

/// Old instructions use `openssl x509 -req` without extensions, and SHA-1.
#[test]
fn outdated_certificates_are_refused_with_an_explanation() {
    let ca = Authority::new("Plant CA");
    let sender = ca.sender("", &[]);
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("ca.key", ca.own().key_pem()),
        ("own.key", sender.key_pem()),
        ("san", "subjectAltName=DNS:a.example".to_owned()),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    for (options, version, said, hint) in [
        (
            "",
            "1 ",
            "the certificate is not of X.509 version 3",
            "openssl x509 -req makes that when it is given extensions (-extfile)",
        ),
        (
            "-sha1 -extfile san",
            "3 ",
            "the certificate is signed with ecdsa-with-SHA1, which is not supported; \
             the sender claims to be \"a.example\", \"old\"",
            SIGNATURES,
        ),
    ] {
        let mut openssl = Command::new("sh");
        openssl.current_dir(&folder).arg("-ec").arg(format!(
            "openssl req -new -key own.key -subj /CN=old -out own.csr
             openssl x509 -req -in own.csr -CA ca.pem -CAkey ca.key -set_serial 7 {options} \
                 -out own.pem
             openssl x509 -in own.pem -noout -text"
        ));
        let made = openssl.output().unwrap();
        let text = String::from_utf8_lossy(&made.stdout).into_owned();
        if !made.status.success() || !text.contains(&format!("Version: {version}")) {
            missing("openssl is not installed, or makes no such certificates");
            return;
        }
        let mut sender = sender.clone();
        sender.chain_pem = fs::read_to_string(folder.path().join("own.pem")).unwrap();
        sender.chain = certificates(&sender.chain_pem);
        Refused {
            trusted: &[&ca],
            hint,
            // Newer versions of OpenSSL do not support SHA-1 either.
            openssl: false,
            ..Refused::new(said)
        }
        .check(Some(&sender));
    }
}

#[test]
fn where_certificates_are_optional_nobody_needs_a_name_but_a_bad_one_is_refused() {
    let ca = Authority::new("Plant CA");
    let mut setup = Setup::new(&[&ca]);
    setup.args(&["--client-auth", "optional"]);
    is_called(&setup, &ca.sender("", &[dns("a.example")]), "a.example");

    let mut program = setup.start(&["--label"]);
    for version in Version::ALL {
        let mut anonymous = Client::connect_as(program.address(), version).unwrap();
        let peer = anonymous.local_address();
        anonymous.write(b"hello\n").unwrap();
        anonymous.finish().unwrap();
        program.wait_for_line(|line| line == line_of_end(&peer.to_string()));
        program.wait_for_stdout(format!("{peer} hello\n"));
        program = setup.start(&["--label"]);
    }

    let other = Authority::new("Other CA");
    Refused {
        trusted: &[&ca],
        args: &["--client-auth", "optional"],
        ..Refused::new(
            "the certificate expired on 2021-02-03; the sender claims to be \"a.example\"",
        )
    }
    .check(Some(&ca.sender_with("", &[dns("a.example")], expires)));
    Refused {
        trusted: &[&ca],
        args: &["--client-auth", "optional"],
        hint: "its certificate and its key must belong together",
        openssl: false,
        ..Refused::new(
            "the sender does not hold the certificate's key; the sender claims to be \"a.example\"",
        )
    }
    .check(Some(&ca.sender("", &[dns("a.example")]).stolen()));
    Refused {
        trusted: &[&ca],
        args: &["--client-auth", "optional"],
        hint: UNKNOWN_CA,
        ..Refused::new("unknown CA \"CN=Other CA\"; the sender claims to be \"a.example\"")
    }
    .check(Some(&other.sender("", &[dns("a.example")])));
}

/// RUSTSEC-2026-0098: constraints on URIs were ignored.
#[test]
fn name_constraints_on_uris_let_no_uri_through() {
    let ca = Authority::new("Plant CA");
    for side in [Subtree::Permitted, Subtree::Excluded] {
        let line = ca.below("Line CA", |params| {
            constrains_uris(params, side, "host.example");
        });
        for name in ["https://host.example/x", "https://other.example/x", "urn:x"] {
            Refused {
                trusted: &[&ca],
                hint: CONSTRAINTS,
                ..Refused::new(&format!(
                    "CA \"CN=Line CA\" has name constraints on URIs, which are not supported; \
                     the sender claims to be \"{name}\""
                ))
            }
            .check(Some(&line.sender("", &[uri(name)])));
        }
        // Names of other kinds are not affected.
        is_called(
            &Setup::new(&[&ca]),
            &line.sender("", &[dns("a.example")]),
            "a.example",
        );
    }
}

/// The sender's names satisfy these constraints, but the verifier can't check that.
#[test]
fn unsupported_kinds_of_name_constraints_are_reported_as_such() {
    let plant = Authority::new("Plant CA");
    let mut directory = DistinguishedName::new();
    directory.push(DnType::OrganizationName, "Plant");
    let mails = || GeneralSubtree::Rfc822Name("x.example".to_owned());
    let directories = || GeneralSubtree::DirectoryName(directory.clone());
    for (constraint, names) in [
        (&mails as &dyn Fn() -> _, "e-mail addresses"),
        (&directories, "directory names"),
    ] {
        let constrain = |params: &mut rcgen::CertificateParams| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![
                    GeneralSubtree::DnsName("example".to_owned()),
                    constraint(),
                ],
                excluded_subtrees: Vec::new(),
            });
        };
        let below = plant.below("Line CA", constrain);
        let above = Authority::with("Own CA", constrain);
        for (trusted, line, ca) in [(&plant, &below, "Line CA"), (&above, &above, "Own CA")] {
            let sender = line.sender_with("", &[dns("a.example"), mail("a@x.example")], |params| {
                params
                    .distinguished_name
                    .push(DnType::OrganizationName, "Plant");
            });
            Refused {
                trusted: &[trusted],
                hint: CONSTRAINTS,
                ..Refused::new(&format!(
                    "CA \"CN={ca}\" has name constraints on {names}, which are not supported; \
                     the sender claims to be \"a.example\", \"a@x.example\""
                ))
            }
            .check(Some(&sender));
        }
    }
    // A violation of a supported constraint is reported, although another one is not supported.
    let line = plant.below("Line CA", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("b.example".to_owned()), mails()],
            excluded_subtrees: Vec::new(),
        });
    });
    Refused {
        trusted: &[&plant],
        ..Refused::new(
            "a CA above the certificate may not sign for its names; \
             the sender claims to be \"a.example\"",
        )
    }
    .check(Some(&line.sender("", &[dns("a.example")])));
}

/// RUSTSEC-2026-0099: wildcards got past name constraints.
#[test]
fn name_constraints_let_no_wildcard_through_that_reaches_beyond_them() {
    let ca = Authority::new("Plant CA");
    let permitting = ca.below("Permitting CA", |params| {
        permits_dns(params, &["a.x.example"]);
    });
    let excluding = ca.below("Excluding CA", |params| {
        excludes_dns(params, &["a.x.example"]);
    });
    for (line, name) in [
        (&permitting, "*.x.example"),
        (&permitting, "b.x.example"),
        (&excluding, "*.x.example"),
        (&excluding, "a.x.example"),
        (&excluding, "*.a.x.example"),
    ] {
        Refused {
            trusted: &[&ca],
            ..Refused::new(&format!(
                "a CA above the certificate may not sign for its names; \
                 the sender claims to be \"{name}\""
            ))
        }
        .check(Some(&line.sender("", &[dns(name)])));
    }
    for (line, name) in [
        (&permitting, "b.a.x.example"),
        (&permitting, "*.a.x.example"),
        (&excluding, "b.x.example"),
        (&excluding, "*.b.x.example"),
    ] {
        is_called(&Setup::new(&[&ca]), &line.sender("", &[dns(name)]), name);
    }
}

/// Name constraints do not apply to common names, so a constrained CA could sign any.
#[test]
fn a_common_name_below_name_constraints_is_no_name() {
    let root = Authority::with("Plant CA", |params| permits_dns(params, &["x.example"]));
    let ca = Authority::new("Plant CA");
    let line = ca.below("Line CA", |params| permits_dns(params, &["x.example"]));
    let below = line.below("Sub CA", |_| {});
    for (trusted, line) in [(&root, &root), (&ca, &line), (&ca, &below)] {
        let setup = Setup::new(&[trusted]);
        is_called(&setup, &line.sender("The Boiler", &[]), "");
        let named = line.sender("The Boiler", &[dns("a.x.example")]);
        is_called(&setup, &named, "a.x.example");
        for (sender, claim) in [
            (line.sender("The Boiler", &[]), "has no name"),
            (named, "claims to be \"a.x.example\""),
        ] {
            Refused {
                trusted: &[trusted],
                args: &["--allow-client", "The Boiler", "--allow-client", HONEST],
                hint: "a common name does not count below a CA with name constraints",
                ..Refused::new(&format!("name not allowed; the sender {claim}"))
            }
            .check(Some(&sender));
        }
    }
}

/// Constraints on DNS names do not apply to URIs and mail addresses, even if these look like one.
#[test]
fn a_uri_or_a_mail_address_that_looks_like_a_dns_name_is_no_name() {
    let ca = Authority::new("Plant CA");
    let line = ca.below("Line CA", |params| permits_dns(params, &["x.example"]));
    for name in [
        uri("a.y.example"),
        uri("//a.y.example"),
        uri(":a.y.example"),
        uri("7:a.y.example"),
        mail("a.y.example"),
    ] {
        let sender = line.sender("", &[name]);
        is_called(&Setup::new(&[&ca]), &sender, "");
        Refused {
            trusted: &[&ca],
            args: &["--allow-client", "a.y.example", "--allow-client", HONEST],
            hint: "a common name does not count below a CA with name constraints",
            ..Refused::new("name not allowed; the sender has no name")
        }
        .check(Some(&sender));
    }
}

/// A certificate may hold thousands of names before anything of it is verified.
#[test]
fn as_many_names_as_fit_in_a_certificate_hold_nobody_up() {
    let ca = Authority::new("Plant CA");
    let names: Vec<_> = (0..7000)
        .map(|number| uri(&format!("u:{number:x}")))
        .collect();
    Refused {
        trusted: &[&ca],
        hint: UNKNOWN_CA,
        ..Refused::new(
            "unknown CA \"CN=Other CA\"; \
             the sender claims to be \"u:0\", \"u:1\", \"u:2\" and more",
        )
    }
    .check(Some(&Authority::new("Other CA").sender("", &names)));
    is_called(&Setup::new(&[&ca]), &ca.sender("", &names), "u:0");
}

/// If each presented CA certificate seems to be signed by all others, the number of paths explodes.
#[test]
fn few_certificates_come_with_a_senders_own() {
    let ca = Authority::new("Plant CA");
    let maze = Authority::new("Maze CA");
    let with = |authority: &Authority, count| {
        let mut sender = authority.sender("", &[dns("a.example")]);
        for _ in 0..count {
            let other = Authority::new("Maze CA");
            sender.chain.push(rustls::Certificate(other.der().to_vec()));
            sender.chain_pem.push_str(&other.pem());
        }
        sender
    };
    is_called(&Setup::new(&[&ca]), &with(&ca, 8), "a.example");
    Refused {
        trusted: &[&ca],
        hint: UNKNOWN_CA,
        ..Refused::new("unknown CA \"CN=Maze CA\"; the sender claims to be \"a.example\"")
    }
    .check(Some(&with(&maze, 6)));
    for sender in [with(&ca, 9), with(&maze, 150)] {
        Refused {
            trusted: &[&ca],
            hint: "senders present their own and those of the CAs above it, no others",
            ..Refused::new(
                "more than 8 certificates came with the certificate; \
                 the sender claims to be \"a.example\"",
            )
        }
        .check(Some(&sender));
    }
}

/// Most of them may be useless: a peer can make any number of CAs with a trusted CA's name.
#[test]
fn of_many_cas_of_one_name_few_are_looked_at() {
    let ca = Authority::new("Plant CA");
    let line = ca.below("Line CA", |_| {});
    let with = |authority: &Authority, others: &str, count| {
        let mut sender = authority.sender("", &[dns("a.example")]);
        for _ in 0..count {
            let other = Authority::new(others);
            sender.chain.push(rustls::Certificate(other.der().to_vec()));
            sender.chain_pem.push_str(&other.pem());
        }
        sender
    };
    // CAs with other keys come before the right one, and behind it.
    let mut sender = with(&line, "Line CA", 7);
    is_called(&Setup::new(&[&ca]), &sender, "a.example");
    sender.chain[1..].reverse();
    is_called(&Setup::new(&[&ca]), &sender, "a.example");
    let maze = Authority::new("Plant CA");
    for sender in [with(&maze, "Plant CA", 8), with(&maze, "Plant CA", 6)] {
        Refused {
            trusted: &[&ca],
            hint: "senders present their own and those of the CAs above it, no others",
            ..Refused::new(
                "the certificate can't be used: too many CAs may have signed it; \
                 the sender claims to be \"a.example\"",
            )
        }
        .check(Some(&sender));
    }
}

#[test]
fn six_cas_may_stand_between_a_sender_and_a_trusted_one() {
    let root = Authority::new("Root CA");
    let mut authority = root.below("CA 1", |_| {});
    for number in 2..=6 {
        authority = authority.below(&format!("CA {number}"), |_| {});
    }
    let setup = Setup::new(&[&root]);
    is_called(
        &setup,
        &authority.sender("", &[dns("a.example")]),
        "a.example",
    );
    let seventh = authority.below("CA 7", |_| {});
    Refused {
        trusted: &[&root],
        ..Refused::new(
            "more than 6 CAs stand between the certificate and a trusted one; \
             the sender claims to be \"a.example\"",
        )
    }
    .check(Some(&seventh.sender("", &[dns("a.example")])));
}

#[test]
fn a_wrong_key_is_found_above_many_cas() {
    let root = Authority::new("Root CA");
    let mut authority = Authority::new("Root CA");
    for number in 1..=6 {
        authority = authority.below(&format!("CA {number}"), |_| {});
    }
    Refused {
        trusted: &[&root],
        hint: "another CA may have the same name: compare its certificate with the one that is \
               trusted here",
        ..Refused::new(
            "a signature is not by the key of CA \"CN=Root CA\"; \
             the sender claims to be \"a.example\"",
        )
    }
    .check(Some(&authority.sender("", &[dns("a.example")])));
}

/// The self-signed certificates of many devices often have the same name.
#[test]
fn a_hundred_self_signed_certificates_of_one_name_can_be_trusted() {
    let many: Vec<_> = (0..150)
        .map(|_| {
            Authority::with("Device", |params| {
                params.is_ca = IsCa::ExplicitNoCa;
                params.subject_alt_names = vec![dns("device.example")];
            })
        })
        .collect();
    let setup = Setup::new(&many.iter().collect::<Vec<_>>());
    is_called(&setup, &many[149].own(), "device.example");
}

/// A CertificateRequest has no room for the names of so many CAs (RFC 5246, section 7.4.4).
#[test]
fn a_thousand_trusted_cas_are_not_too_many() {
    let many: Vec<_> = (0..1000)
        .map(|number| {
            let name = format!("CA {number} of {}", "x".repeat(40));
            Authority::with(&name, |params| {
                let organization = "y".repeat(60);
                params
                    .distinguished_name
                    .push(DnType::OrganizationName, organization);
            })
        })
        .collect();
    let setup = Setup::new(&many.iter().collect::<Vec<_>>());
    let sender = many[777].sender("", &[dns("a.example")]);
    is_called(&setup, &sender, "a.example");
}

#[test]
fn each_of_300_senders_at_once_is_called_by_its_own_name() {
    const SENDERS: usize = 300;
    let ca = Authority::new("Plant CA");
    let program = Setup::new(&[&ca]).start(&["--label"]);
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            let name = format!("sender-{number}.example");
            let credentials = ca.sender("", &[dns(&name)]);
            (
                name,
                credentials.config(Version::ALL[number % 2].of_rustls()),
            )
        })
        .collect();
    let address = program.address();
    let barrier = Barrier::new(SENDERS);
    let peers: HashMap<SocketAddr, String> = thread::scope(|scope| {
        let senders: Vec<_> = senders
            .into_iter()
            .map(|(name, config)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let tcp = tcp(address);
                    barrier.wait();
                    let mut client = Client::over(tcp.unwrap(), config, "localhost").unwrap();
                    // Most or all handshakes are complete by now.
                    client.write(format!("I am {name}\n").as_bytes()).unwrap();
                    let peer = client.local_address();
                    client.finish().unwrap();
                    (peer, name)
                })
            })
            .collect();
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap())
            .collect()
    });
    let ends = program.wait_for_ends(SENDERS);
    let outcome = program.stop();
    assert_eq!(ends.len(), SENDERS);
    for ended in ends {
        let (name, peer) = ended.peer.split_once('@').unwrap();
        assert_eq!(peers[&peer.parse().unwrap()], name);
        assert_eq!(ended.end, "clean");
    }
    let printed = outcome.stdout_text();
    assert_eq!(printed.lines().count(), SENDERS);
    for line in printed.lines() {
        let (label, text) = line.split_once(' ').unwrap();
        let (name, peer) = label.split_once('@').unwrap();
        assert_eq!(text, format!("I am {name}"));
        assert_eq!(peers[&peer.parse().unwrap()], name);
    }
}

/// The name of the sender that must not notice that others are refused.
const HONEST: &str = "honest.example";

/// Hints.
const UNKNOWN_CA: &str = "if a CA that is trusted here has signed for that one, senders must \
                          present its certificate too";
const ANOTHER_CA: &str = "another CA may have the same name: compare its certificate with the one \
                          that is trusted here";
const NO_CERTIFICATE: &str = "senders must present one that a CA trusted here has signed, for a \
                              key that is RSA (not RSASSA-PSS), P-256, P-384 or Ed25519";
const KEYS: &str = "keys can be RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519";
const SIGNATURES: &str =
    "RSA and ECDSA with SHA-256 or SHA-384, RSA with SHA-512, and Ed25519 are supported";
const CONSTRAINTS: &str =
    "name constraints on DNS names and IP addresses are supported, and no others";
const ENCODING: &str = "names are compared byte by byte: the CA's certificate must have its name \
                        as the certificates have it that it signs";

/// The times 2021-01-04 and 2021-02-03, counted from 1970.
const JANUARY: Duration = Duration::from_secs(18_631 * 86_400);
const FEBRUARY: Duration = Duration::from_secs(18_661 * 86_400);

fn begins_in_2049(params: &mut rcgen::CertificateParams) {
    lasts(params, -1..=100);
    params.not_before = rcgen::date_time_ymd(2049, 3, 4);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
}

fn certificates(pem: &str) -> Vec<rustls::Certificate> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| rustls::Certificate(der.unwrap().to_vec()))
        .collect()
}

/// The files by which senders are verified, and the arguments that name them.
struct Setup {
    folder: TempDir,
    args: Vec<String>,
}

impl Setup {
    fn new(trusted: &[&Authority]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text: String = trusted.iter().map(|ca| ca.pem()).collect();
        let mut setup = Setup {
            folder,
            args: Vec::new(),
        };
        setup.file("--client-ca", text.as_bytes());
        setup
    }

    fn list(&mut self, list: &str) {
        self.file("--crl", list.as_bytes());
    }

    fn file(&mut self, option: &str, content: &[u8]) {
        let path = self.folder.path().join(self.args.len().to_string());
        fs::write(&path, content).unwrap();
        self.args(&[option, path.to_str().unwrap()]);
    }

    fn args(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
    }

    fn start(&self, args: &[&str]) -> Program {
        let all: Vec<_> = self
            .args
            .iter()
            .map(String::as_str)
            .chain(args.iter().copied())
            .collect();
        Program::start_on(&[FREE], &all, crate::common::program::Stdout::Collected)
    }
}

/// Checks that this sender is let in, and that its name, if any, stands in front of its lines and
/// in the message about its end.
fn is_called(setup: &Setup, sender: &Credentials, name: &str) {
    let named = |peer: &str| match name {
        "" => peer.to_owned(),
        name => format!("{name}@{peer}"),
    };
    let program = setup.start(&["--label"]);
    let mut printed = String::new();
    for version in Version::ALL {
        let config = sender.config(version.of_rustls());
        let tcp = tcp(program.address()).unwrap();
        let mut client = Client::over(tcp, config, "localhost").unwrap();
        let sender = named(&client.local_address().to_string());
        client.write(b"hello\n").unwrap();
        client.finish().unwrap();
        program.wait_for_line(|line| line == line_of_end(&sender));
        printed += &format!("{sender} hello\n");
        program.wait_for_stdout(&printed);
    }
    for version in Version::ALL {
        if !openssl(&program, version, Some(sender)) {
            return;
        }
    }
    let ends = program.wait_for_ends(4);
    for ended in &ends[2..] {
        let peer = ended.peer.rsplit('@').next().unwrap();
        assert_eq!(ended.peer, named(peer));
        printed += &format!("{} hello\n", ended.peer);
    }
    assert_eq!(program.stop().stdout_text(), printed);
}

fn line_of_end(sender: &str) -> String {
    format!("tlsink: {sender}: 6 bytes received, 6 delivered, plain, clean")
}

/// Sends a line with OpenSSL; returns `false` if it is not installed.
fn openssl(program: &Program, version: Version, sender: Option<&Credentials>) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("openssl");
    command
        .current_dir(&folder)
        .args(["s_client", "-connect", &program.address().to_string()])
        .args(["-quiet", "-no_ign_eof", "-nocommands"])
        .arg(match version {
            Version::Tls12 => "-tls1_2",
            Version::Tls13 => "-tls1_3",
        });
    if let Some(sender) = sender {
        let (own, above) = sender.split_pem();
        for (name, text) in [
            ("own.pem", own),
            ("above.pem", above),
            ("key.pem", &sender.key_pem()),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        command.args(["-cert", "own.pem", "-key", "key.pem"]);
        if !above.is_empty() {
            command.args(["-cert_chain", "above.pem"]);
        }
    }
    run_if_installed(&mut command, b"hello\n").is_some()
}

/// The expected message about a refused sender, and the settings of the server.
struct Refused<'a> {
    trusted: &'a [&'a Authority],
    lists: &'a [String],
    args: &'a [&'a str],
    what: String,
    hint: &'a str,
    /// Whether OpenSSL presents such a certificate.
    openssl: bool,
}

impl Refused<'_> {
    fn new(what: &str) -> Self {
        Refused {
            trusted: &[],
            lists: &[],
            args: &[],
            what: what.to_owned(),
            hint: "",
            openssl: true,
        }
    }

    /// Lets the sender try in all ways while an honest one is connected. The program must print
    /// exactly this message, and none of the sender's data.
    fn check(&self, sender: Option<&Credentials>) {
        let honest_ca = Authority::new("Honest CA");
        let trusted: Vec<_> = self.trusted.iter().copied().chain([&honest_ca]).collect();
        let mut setup = Setup::new(&trusted);
        self.lists.iter().for_each(|list| setup.list(list));
        if !self.lists.is_empty() {
            setup.list(&honest_ca.crl(&[]));
        }
        setup.args(self.args);
        let program = setup.start(&[]);
        let honest = honest_ca.sender("", &[dns(HONEST)]).config(&client::TLS13);
        let tcp_of_honest = tcp(program.address()).unwrap();
        let mut honest = Client::over(tcp_of_honest, honest, "localhost").unwrap();
        honest.write(b"before\n").unwrap();
        program.wait_for_stdout("before\n");

        let line = format!("tlsink: PEER: refused ({})", self.what);
        let mut tries = 0;
        let mut wait = || {
            tries += 1;
            program.wait_for_lines(tries, |said| without_peer(said) == line);
        };
        for version in Version::ALL {
            let config = match sender {
                Some(sender) => sender.config(version.of_rustls()),
                None => client::config(version.of_rustls()),
            };
            let tcp = tcp(program.address()).unwrap();
            match Client::over(tcp, config, "localhost") {
                // In TLS 1.3, a sender completes its handshake before its certificate is judged.
                Ok(mut client) => {
                    let _ = client.write(b"hello\n");
                    assert!(client.finish().is_err(), "{}", self.what);
                }
                Err(error) => assert!(error.to_string().contains("alert"), "{error}"),
            }
            wait();
            if self.openssl && openssl(&program, version, sender) {
                wait();
            }
        }

        honest.write(b"after\n").unwrap();
        program.wait_for_stdout("before\nafter\n");
        let peer = honest.local_address();
        honest.finish().unwrap();
        program.wait_for_end();
        let outcome = program.stop();
        assert_eq!(outcome.stdout_text(), "before\nafter\n", "{}", self.what);
        let said: Vec<_> = outcome
            .stderr
            .lines()
            .skip_while(|line| !line.starts_with("tlsink: fresh self-signed certificate"))
            .skip(1)
            .map(without_peer)
            .collect();
        let hint = match self.hint {
            "" => String::new(),
            hint => format!("\nhint: {hint}"),
        };
        let mut expected = vec![line + &hint; tries];
        expected.push(format!(
            "tlsink: {HONEST}@{peer}: 13 bytes received, 13 delivered, plain, clean"
        ));
        expected.push("tlsink: stopping".to_owned());
        assert_eq!(said.join("\n"), expected.join("\n"));
    }
}

/// A line with `PEER` in place of the address at its beginning.
fn without_peer(line: &str) -> String {
    let peer = line
        .strip_prefix("tlsink: ")
        .and_then(|said| said.split_once(": "))
        .filter(|(peer, _)| peer.parse::<SocketAddr>().is_ok());
    match peer {
        Some((_, said)) => format!("tlsink: PEER: {said}"),
        None => line.to_owned(),
    }
}
