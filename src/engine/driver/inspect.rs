//! A look at a file before it is sent: whether it is one, and what kind.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, absolute},
};

use crate::{
    engine::CommandError,
    rooms::{FileFacts, SNIFFED_BYTES, media_type},
};

/// Looks at the file at `path`, which may be relative. What is read is the beginning alone.
///
/// # Errors
/// In words for people, when it is not there, no file, or not readable.
pub fn inspect_file(path: &Path) -> Result<FileFacts, CommandError> {
    let refuse = |why: &dyn std::fmt::Display| CommandError {
        code: "file".to_owned(),
        message: format!("{} cannot be sent: {why}", path.display()),
    };
    // A pipe must not be opened: that would wait for its other end.
    let metadata = fs::metadata(path).map_err(|error| refuse(&error))?;
    if !metadata.is_file() {
        return Err(refuse(&"it is no file"));
    }
    let begin = begin(path).map_err(|error| refuse(&error))?;
    let absolute = absolute(path).map_err(|error| refuse(&error))?;
    let unicode = |text: Option<&str>| text.map(str::to_owned);
    let name = unicode(path.file_name().and_then(|name| name.to_str()));
    let (Some(path), Some(name)) = (unicode(absolute.to_str()), name) else {
        return Err(refuse(&"its name is not Unicode; rename it first"));
    };
    let mimetype = media_type(&name, &begin);
    Ok(FileFacts { path, name, size: metadata.len(), mimetype })
}

fn begin(path: &Path) -> io::Result<Vec<u8>> {
    let mut begin = Vec::new();
    let most = u64::try_from(SNIFFED_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(most).read_to_end(&mut begin)?;
    Ok(begin)
}
