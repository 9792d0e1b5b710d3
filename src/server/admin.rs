//! What whoever runs a server does to its data, beside the process that serves it or without one.

use std::path::Path;

use super::{
    db::{Database, DatabaseError},
    folder::{FolderError, open_beside, private},
    host::{fill, now},
    model::{AdminDone, AdminJob, Done, Model, Overlay, Refusal, Settings, Work},
    work::perform,
};
use crate::secret::Secret;

/// The data of a server, in the hands of whoever runs it.
#[derive(Debug)]
pub struct Admin {
    database: Database,
    model: Model,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// There is no server, or it does not open.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The disk refuses.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// It cannot be done.
    #[error("{0}")]
    Refused(String),
}

impl Admin {
    /// Opens the data in a folder.
    ///
    /// # Errors
    /// When there is no server in it.
    pub fn open(dir: &Path) -> Result<Self, AdminError> {
        let mut admin = Self::of(open_beside(dir)?);
        admin.perform(AdminJob::Settle { name: None })?;
        Ok(admin)
    }

    /// Works on a database that is open; its name is to be settled first.
    pub fn of(database: Database) -> Self {
        Self { database, model: Model::new(Settings::new("localhost")) }
    }

    /// Does something, all or nothing.
    ///
    /// # Errors
    /// When it cannot be done, or not be written.
    pub fn perform(&mut self, job: AdminJob) -> Result<AdminDone, AdminError> {
        self.database.begin()?;
        let mut overlay = Overlay::new(&self.database);
        let (result, changes) = self.model.administer(job, &overlay, now(), &mut fill);
        overlay.extend(changes);
        self.database.commit(&overlay.into_changes())?;
        let done = result.map_err(|Refusal { error, .. }| AdminError::Refused(error))?;
        if let AdminDone::Settled { name, .. } = &done {
            self.model = Model::new(Settings::new(name.clone()));
        }
        Ok(done)
    }

    /// Gives an account another password.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn reset_password(
        &mut self,
        user: String,
        password: &Secret<String>,
    ) -> Result<AdminDone, AdminError> {
        match perform(Work::Hash { password: password.clone() }) {
            Done::Hash(hash) if !hash.is_empty() => {
                self.perform(AdminJob::ResetPassword { user, hash })
            }
            Done::Hash(_) | Done::Verified(_) => {
                Err(AdminError::Refused("the password cannot be hashed".to_owned()))
            }
        }
    }

    /// Copies everything into a new file, also while the server runs.
    ///
    /// # Errors
    /// When the file is there already, or cannot be written.
    pub fn back_up(&self, file: &Path) -> Result<(), AdminError> {
        if file.exists() {
            return Err(DatabaseError::Exists { file: file.to_owned() }.into());
        }
        private(file).map_err(|error| {
            AdminError::Refused(format!("{} cannot be made: {error}", file.display()))
        })?;
        Ok(self.database.back_up(file)?)
    }

    /// The database, to serve it.
    pub fn into_database(self) -> Database {
        self.database
    }
}
