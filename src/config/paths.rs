//! Where things are: the platform's folders, unless arguments say otherwise.
//!
//! ```text
//! <data>/accounts/<user id, encoded>/   store.db store.key store.lock   (see `store`)
//! <state>/grotto.log
//! <config>/config.toml  <config>/themes/
//! <runtime>/grotto/<hash>.sock          the account's control socket
//! ```

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use directories::ProjectDirs;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

/// What arguments say.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The configuration file (`--config`).
    pub config_file: Option<PathBuf>,
    /// Folder of accounts and logs (`--data-dir`).
    pub data_dir: Option<PathBuf>,
}

/// The folders of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The configuration file.
    pub config_file: PathBuf,
    /// The user's own themes, unless the file names another folder.
    pub themes_dir: PathBuf,
    /// Accounts.
    pub data_dir: PathBuf,
    /// Logs.
    pub log_dir: PathBuf,
    /// Sockets; `None` where the platform has no such folder.
    pub runtime_dir: Option<PathBuf>,
}

/// Why the folders are not known.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// The user has no home.
    #[error("your home folder is not known; set HOME, or use --config and --data-dir")]
    NoHome,
    /// The list of accounts cannot be read.
    #[error("{path} cannot be read", path = .path.display())]
    Read {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Letters that stay; capitals do not, for file systems that take them for small ones.
const ENCODED: AsciiSet = capitals(NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.'));

const fn capitals(mut set: AsciiSet) -> AsciiSet {
    let mut letter = b'A';
    while letter <= b'Z' {
        set = set.add(letter);
        letter += 1;
    }
    set
}

impl Paths {
    /// Finds the folders.
    ///
    /// # Errors
    /// When the user has no home and the arguments do not say everything.
    pub fn find(overrides: Overrides) -> Result<Self, PathsError> {
        let platform = ProjectDirs::from("", "", "grotto");
        let platform = |folder: fn(&ProjectDirs) -> PathBuf| {
            platform.as_ref().map(folder).ok_or(PathsError::NoHome)
        };
        let config_file = match overrides.config_file {
            Some(file) => file,
            None => platform(|dirs| dirs.config_dir().join("config.toml"))?,
        };
        let themes_dir = config_file.with_file_name("themes");
        let runtime_dir =
            platform(|dirs| dirs.runtime_dir().map(Path::to_owned).unwrap_or_default())
                .ok()
                .filter(|dir| dir.is_absolute());
        let (data_dir, log_dir) = match overrides.data_dir {
            Some(dir) => (dir.clone(), dir),
            None => (
                platform(|dirs| dirs.data_local_dir().to_owned())?,
                platform(|dirs| dirs.state_dir().unwrap_or(dirs.data_local_dir()).to_owned())?,
            ),
        };
        Ok(Self { config_file, themes_dir, data_dir, log_dir, runtime_dir })
    }

    /// The folder of an account's store.
    pub fn account_dir(&self, user_id: &str) -> PathBuf {
        let name = utf8_percent_encode(user_id, &ENCODED).to_string();
        // File systems take 255 bytes; what is longer is named by its hash.
        let name = if name.len() > 200 { format!("sha256-{}", digest(user_id, 32)) } else { name };
        self.accounts_dir().join(name)
    }

    /// User ids of the accounts that have a folder, in order.
    ///
    /// # Errors
    /// When the folder of accounts is there but cannot be read.
    pub fn accounts(&self) -> Result<Vec<String>, PathsError> {
        let path = self.accounts_dir();
        let read = |source| PathsError::Read { path: path.clone(), source };
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(read)?,
        };
        let mut accounts = Vec::new();
        for entry in entries {
            let name = entry.map_err(read)?.file_name();
            let user_id = name.to_str().and_then(|it| percent_decode_str(it).decode_utf8().ok());
            accounts.extend(user_id.filter(|it| it.starts_with('@')).map(String::from));
        }
        accounts.sort_unstable();
        Ok(accounts)
    }

    /// The control socket of an account: in the runtime folder, under a name short enough for
    /// every system; in the account's folder where there is no runtime folder.
    pub fn control_socket(&self, user_id: &str) -> PathBuf {
        let account = self.account_dir(user_id);
        match &self.runtime_dir {
            Some(runtime) => {
                let name = digest(&account.to_string_lossy(), 8);
                runtime.join(format!("{name}.sock"))
            }
            None => account.join("control.sock"),
        }
    }

    /// The log file.
    pub fn log_file(&self) -> PathBuf {
        self.log_dir.join("grotto.log")
    }

    fn accounts_dir(&self) -> PathBuf {
        self.data_dir.join("accounts")
    }
}

/// The first `bytes` bytes of the hash, in hexadecimal.
fn digest(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).fold(String::new(), |mut hex, byte| {
        // Writing into a string cannot fail.
        write!(hex, "{byte:02x}").unwrap_or_default();
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(data_dir: &Path) -> Paths {
        let config_file = Some("/c/config.toml".into());
        Paths::find(Overrides { config_file, data_dir: Some(data_dir.to_owned()) }).unwrap()
    }

    #[test]
    fn arguments_win_over_the_platform() {
        let paths = paths(Path::new("/d"));
        assert_eq!(paths.config_file, Path::new("/c/config.toml"));
        assert_eq!(paths.themes_dir, Path::new("/c/themes"));
        assert_eq!(paths.log_file(), Path::new("/d/grotto.log"));
    }

    #[test]
    fn no_user_id_leaves_its_folder_or_meets_another() {
        let paths = paths(Path::new("/d"));
        let dir = paths.account_dir("@../../x:a/b");
        assert_eq!(dir, Path::new("/d/accounts/%40..%2F..%2Fx%3Aa%2Fb"));
        let (upper, lower) = (paths.account_dir("@Ann:x"), paths.account_dir("@ann:x"));
        let folded = |path: PathBuf| path.to_string_lossy().to_lowercase();
        assert_ne!(folded(upper), folded(lower));
        let long = paths.account_dir(&format!("@{}:x", "Ä".repeat(120)));
        assert!(long.file_name().unwrap().len() < 255);
    }

    #[test]
    fn accounts_are_listed_by_user_id() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        assert_eq!(paths.accounts().unwrap(), [""; 0]);
        for name in ["@Bob:x.org", "@ann:x.org:8448"] {
            fs::create_dir_all(paths.account_dir(name)).unwrap();
        }
        fs::create_dir_all(dir.path().join("accounts/lost+found")).unwrap();
        assert_eq!(paths.accounts().unwrap(), ["@Bob:x.org", "@ann:x.org:8448"]);
    }

    #[test]
    fn the_socket_of_an_account_is_its_own_and_short() {
        let mut paths = paths(Path::new("/d"));
        paths.runtime_dir = Some("/run/user/1000/grotto".into());
        let socket = paths.control_socket(&format!("@{}:example.org", "a".repeat(200)));
        assert!(socket.starts_with("/run/user/1000/grotto") && socket.as_os_str().len() < 90);
        assert_ne!(socket, paths.control_socket("@ann:x"));
        paths.data_dir = "/other".into();
        assert_ne!(socket, paths.control_socket("@ann:x"));
        paths.runtime_dir = None;
        assert!(paths.control_socket("@ann:x").starts_with("/other/accounts/%40ann%3Ax"));
    }
}
