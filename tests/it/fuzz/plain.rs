//! Targets that are one function each: texts, frames, and what servers say before there is a login.

use std::time::Duration;

use grotto::{
    e2ee::{EncryptedFile, RecoverySecret},
    gateway::{Metadata, Tokens, advertised},
    matrix::{CanonicalText, CanonicalValue, MatrixError, MxcUri, SafeText, safe_file_name},
    rooms::media_type,
    secret::Secret,
    wire::{ClientFrame, ServerFrame},
};

use super::text;

/// A recovery key or a passphrase, as somebody types it.
pub(super) fn recovery_key(data: &[u8]) {
    let Some(text) = text(data) else { return };
    drop(RecoverySecret::typed(Secret::new(text.to_owned())));
}

/// What is read is written as it must be, and read again as the same.
pub(super) fn canonical_json(data: &[u8]) {
    let Some(value) = text(data).and_then(|text| CanonicalValue::parse_object(text).ok()) else {
        return;
    };
    let written = CanonicalText(&value).to_string();
    let again = CanonicalValue::parse_object(&written).expect("our own text is canonical");
    assert_eq!(CanonicalText(&again).to_string(), written);
}

/// A message of the stream, of either side.
pub(super) fn wire_frame(data: &[u8]) {
    drop(ServerFrame::decode_binary(data));
    drop(ClientFrame::decode_binary(data));
    let Some(text) = text(data) else { return };
    if let Ok(frame) = ServerFrame::decode_text(text) {
        frame.encode().expect("what was read can be written");
    }
    if let Ok(frame) = ClientFrame::decode_text(text) {
        frame.encode().expect("what was read can be written");
    }
}

/// What a sender says of an encrypted file, and the begin of the file itself.
pub(super) fn file(data: &[u8]) {
    assert!(!media_type("x", data).contains(char::is_control));
    let Some(text) = text(data) else { return };
    if let Ok(uri) = MxcUri::parse(text) {
        assert!(!uri.server().contains('/') && !uri.id().contains(['/', '.']), "{uri}");
    }
    let Ok(value) = serde_json::from_str(text) else { return };
    if let Ok(file) = EncryptedFile::parse(&value) {
        let again = EncryptedFile::parse(&file.to_json()).expect("our own text");
        assert_eq!(again.url(), file.url());
    }
}

/// Any text of a stranger, shown or made a file's name.
pub(super) fn shown_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let is_harmful = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!SafeText::line(&text).as_str().contains(is_harmful));
    for line in SafeText::block(&text).lines() {
        assert!(!line.as_str().contains(is_harmful));
    }
    let name = safe_file_name(&text);
    assert!(!name.is_empty() && name.len() <= 255, "{name:?}");
    assert!(!name.starts_with(['.', '-']) && !name.contains(['/', '\\', '\0']), "{name:?}");
}

/// The body of a refusal.
pub(super) fn homeserver_error(data: &[u8]) {
    for status in [400, 401, 429, 502] {
        let error = MatrixError::parse(status, data);
        assert_eq!(error.status, status);
        assert!(error.retry_after().is_none_or(|pause| pause <= Duration::from_secs(60 * 60)));
        let Some(auth) = error.auth else { continue };
        for stage in auth.flows.iter().flat_map(|flow| &flow.stages) {
            let page = auth.url(stage).unwrap_or_default();
            assert!(page.is_ascii() && !page.contains(|c: char| c.is_control()), "{page:?}");
        }
    }
}

/// What an authorization server says, and a homeserver of it.
pub(super) fn oauth_answer(data: &[u8]) {
    let Some(text) = text(data) else { return };
    drop(Tokens::parse(data));
    let homeserver = "https://house.example";
    if let Ok(metadata) = Metadata::parse(text, homeserver) {
        assert_eq!(metadata.token_endpoint.scheme(), "https");
    }
    let usual = r#"{"token_endpoint":"https://account.example/token"}"#;
    let usual = Metadata::parse(usual, homeserver).expect("metadata");
    if let Ok(grant) = usual.device_grant(data) {
        assert_eq!(grant.verification_uri.scheme(), "https");
        assert!(!grant.user_code.contains(|c: char| !c.is_ascii() || c.is_control()));
    }
}

/// A `.well-known` file, and what the homeserver that it names offers.
pub(super) fn well_known(data: &[u8]) {
    if let Some((homeserver, _)) = advertised(data) {
        assert!(matches!(homeserver.scheme(), "https" | "http"));
    }
}
