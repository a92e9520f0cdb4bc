//! The formats of appended lines.

use std::io;

use parking_lot::{Mutex, MutexGuard};

use crate::conn::ConnId;
use crate::output::json::{Objects, PageSink};
use crate::output::prefix::Front;

/// The format in which lines are written.
#[derive(Debug)]
pub(super) enum Format {
    /// As they came, behind this.
    Lines(Front),
    Json(Box<Objects<Pages>>),
}

/// Keeps the pages of one lane's objects until they are taken.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<Vec<(ConnId, Vec<u8>)>>);

impl Format {
    /// The same format for another lane.
    pub(super) fn another(&self) -> Self {
        match self {
            Format::Lines(front) => Format::Lines(front.clone()),
            Format::Json(objects) => Format::Json(Box::new(objects.another(Pages::default()))),
        }
    }
}

impl Pages {
    /// Takes all pages, in their order.
    pub(super) fn take(&mut self) -> Vec<(ConnId, Vec<u8>)> {
        std::mem::take(self.0.get_mut())
    }
}

impl PageSink for Pages {
    type Lock<'a> = MutexGuard<'a, Vec<(ConnId, Vec<u8>)>>;

    fn lock(&self) -> Self::Lock<'_> {
        self.0.lock()
    }

    fn write(pages: &mut Self::Lock<'_>, id: ConnId, page: &[u8]) -> io::Result<()> {
        match pages.last_mut() {
            Some((last, pages)) if *last == id => pages.extend_from_slice(page),
            _ => pages.push((id, page.to_vec())),
        }
        Ok(())
    }
}
