//! From a file's text to its values, the same for every file of ours.

use std::{fs, io, path::Path};

use serde::de::DeserializeOwned;

use super::error::ConfigError;

/// Reads a file by its own `parse`; one that is missing means the defaults.
pub(super) fn load<T: Default>(
    path: &Path,
    parse: impl FnOnce(&str, &Path) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    match fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
    }
}

/// Reads the text of a file; `path` is for messages.
pub(super) fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::new(path, text, &error))
}
