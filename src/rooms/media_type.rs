//! What a file is, by its first bytes and its name.

/// Bytes of a file's beginning that [`media_type`] looks at.
pub const SNIFFED_BYTES: usize = 64;

/// First bytes that say more than a name does.
const MAGIC: &[(usize, &[u8], &str)] = &[
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (8, b"WAVE", "audio/wav"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"(\xb5/\xfd", "application/zstd"),
];

/// Endings of names, where the first bytes say nothing, or less.
const ENDINGS: &[(&str, &str)] = &[
    ("txt", "text/plain"),
    ("log", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("svg", "image/svg+xml"),
    ("bmp", "image/bmp"),
    ("mp3", "audio/mpeg"),
    ("opus", "audio/ogg"),
    ("m4a", "audio/mp4"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("ogv", "video/ogg"),
    ("zip", "application/zip"),
    ("tar", "application/x-tar"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
];

/// The media type of a file with this name that begins with these bytes. What a name says about
/// pictures, sound and video is believed only where their first bytes have no known form.
pub fn media_type(name: &str, begin: &[u8]) -> &'static str {
    let starts =
        |at: usize, magic: &[u8]| begin.get(at..).is_some_and(|rest| rest.starts_with(magic));
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let named = ENDINGS.iter().find(|(known, _)| Some(*known) == ending.as_deref());
    let found = MAGIC.iter().find(|(at, magic, _)| starts(*at, magic));
    match (found, named) {
        // Containers: the name says what is in it.
        (Some((_, _, container)), Some((_, named)))
            if is_container(container) && named.split('/').next() != Some("text") =>
        {
            named
        }
        (Some((_, _, found)), _) => found,
        (None, Some((_, named))) => named,
        (None, None) => "application/octet-stream",
    }
}

fn is_container(found: &str) -> bool {
    matches!(found, "audio/ogg" | "video/webm" | "video/mp4")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_say_more_than_a_name() {
        assert_eq!(media_type("letter.txt", b"\x89PNG\r\n\x1a\n...."), "image/png");
        assert_eq!(media_type("photo.png", b"not a picture"), "application/octet-stream");
        assert_eq!(media_type("x.mkv", b"\x1a\x45\xdf\xa3"), "video/x-matroska");
        assert_eq!(media_type("Notes.TXT", b"hello"), "text/plain");
        assert_eq!(media_type("", b""), "application/octet-stream");
    }
}
