//! Key files against the vectors of the format, and against what may happen to one on its way.

use std::io::Cursor;

use super::*;

/// Appendix A of the design: the passphrase is `passphrase`, the list is empty.
const EMPTY: &str = "-----BEGIN MEGOLM SESSION DATA-----\n\
    AQABAgMEBQYHCAkKCwwNDg8AAQIDBAUGBwgJCgsMDQ4PAAAD6IBR87Y1aFyAQ7Z+blCePtDWGU7vhy25JcTcnxMUQ6IiygM=\n\
    -----END MEGOLM SESSION DATA-----";

fn read(file: &str, passphrase: &str) -> Result<Vec<String>, KeyFileError> {
    let mut reader = KeyFileReader::open(Cursor::new(file), passphrase)?;
    let mut items = Vec::new();
    while let Some(item) = reader.next()? {
        items.push(String::from_utf8(item.to_vec()).unwrap());
    }
    Ok(items)
}

fn header() -> Header {
    let bytes: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
    Header { salt: bytes, iv: bytes, rounds: 1000 }
}

fn write(items: &[&str]) -> String {
    let mut writer = KeyFileWriter::with(Vec::new(), "passphrase", &header()).unwrap();
    for item in items {
        writer.push(item).unwrap();
    }
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

// T-102
#[test]
fn the_known_file_is_read_and_written() {
    assert_eq!(read(EMPTY, "passphrase").unwrap(), Vec::<String>::new());
    let strip = |text: &str| text.replace('\n', "");
    assert_eq!(strip(&write(&[])), strip(EMPTY));
}

// T-102
#[test]
fn what_was_written_is_read_again_whatever_its_length() {
    let long: Vec<String> =
        (0..400).map(|i| format!(r#"{{"a":"}}]\"{i}","b":[{{"c":{i}}}]}}"#)).collect();
    let items: Vec<&str> = long.iter().map(String::as_str).collect();
    for count in [1, 2, 3, 4, 5, 400] {
        let items = &items[..count];
        assert_eq!(read(&write(items), "passphrase").unwrap(), items);
    }
}

// T-103
#[test]
fn other_line_ends_spaces_and_words_before_it_do_no_harm() {
    let file = write(&[r#"{"a":1}"#]);
    for changed in [
        file.replace('\n', "\r\n"),
        file.replace('\n', " \n\n  "),
        format!("Exported by a program\n\n{file}"),
        format!("{}\n", file.trim_end()),
        file.trim_end().to_owned(),
    ] {
        assert_eq!(read(&changed, "passphrase").unwrap(), [r#"{"a":1}"#], "{changed}");
    }
}

// T-103
#[test]
fn a_cut_file_and_other_text_are_no_key_file() {
    let file = write(&[r#"{"a":1}"#]);
    for cut in [0, 10, 40, 80, 120, file.len() - 10] {
        let (start, _rest) = file.split_at(cut);
        assert!(read(start, "passphrase").is_err(), "{cut}");
    }
    for text in
        ["hello", "-----BEGIN MEGOLM SESSION DATA-----\nAQAB\n-----END MEGOLM SESSION DATA-----"]
    {
        assert!(matches!(read(text, "passphrase"), Err(KeyFileError::NotOne)), "{text}");
    }
}

// T-103
#[test]
fn another_version_and_absurd_rounds_are_refused_before_any_work() {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let mut bytes = STANDARD.decode(EMPTY.lines().nth(1).unwrap().trim()).unwrap();
        change(&mut bytes);
        read(&format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(bytes)), "passphrase")
    };
    assert!(matches!(with(&|bytes| bytes[0] = 2), Err(KeyFileError::Version(2))));
    let absurd = with(&|bytes| bytes[33..37].copy_from_slice(&10_000_001_u32.to_be_bytes()));
    assert!(matches!(absurd, Err(KeyFileError::Rounds(10_000_001))));
    assert!(matches!(with(&|bytes| bytes[33..37].fill(0)), Err(KeyFileError::Rounds(0))));
    for at in [5, 20, 38, 45] {
        let flipped = with(&|bytes| bytes[at] ^= 1);
        assert!(matches!(flipped, Err(KeyFileError::Passphrase)), "{at}");
    }
}

#[test]
fn another_passphrase_reads_nothing() {
    assert!(matches!(read(EMPTY, "Passphrase"), Err(KeyFileError::Passphrase)));
}

#[test]
fn what_is_inside_must_be_a_list_of_objects() {
    for text in [r"1", r#"{"a":1"#, r#"{"a":1}]["#] {
        assert!(
            matches!(read(&write(&[text]), "passphrase"), Err(KeyFileError::Content)),
            "{text}"
        );
    }
}

#[test]
fn a_file_of_ours_takes_half_a_million_rounds_and_a_fresh_salt() {
    let new = || String::from_utf8(KeyFileWriter::new(Vec::new(), "p").unwrap().finish().unwrap());
    let (one, two) = (new().unwrap(), new().unwrap());
    assert_ne!(one, two);
    let (header, ()) = read::test_header(&one);
    assert_eq!(header.rounds, 500_000);
    assert_eq!(header.iv[8] & 0x80, 0);
    assert!(read(&one, "p").unwrap().is_empty());
}
