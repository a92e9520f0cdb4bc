//! The key that senders of forward share with the receiver.

#[cfg(feature = "forward")]
use std::fs;
use std::path::Path;

use tlsink::ServerBuilder;
#[cfg(feature = "forward")]
use tlsink::frame::SharedKey;

use super::super::Failure;

/// Demands the key in this file, which may end with a newline.
#[cfg(feature = "forward")]
pub(super) fn forward_key(builder: ServerBuilder, file: &Path) -> Result<ServerBuilder, Failure> {
    let shown = file.display();
    let key = fs::read(file)
        .map_err(|error| Failure::misused(format!("can't read the key in {shown}: {error}")))?;
    let key = key.strip_suffix(b"\n").unwrap_or(&key);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    if key.is_empty() {
        return Err(Failure::misused(format!("{shown} has no key in it")));
    }
    Ok(builder.forward_key(SharedKey::new(key)))
}

#[cfg(not(feature = "forward"))]
pub(super) fn forward_key(_: ServerBuilder, _: &Path) -> Result<ServerBuilder, Failure> {
    let what = "--forward-key needs the feature forward, which is not built in";
    Err(Failure::misused(what))
}
