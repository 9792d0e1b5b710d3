//! What every command needs: options, folders, configuration, the log.

use tracing::level_filters::LevelFilter;

use super::{failure::Failure, secrets::warn};
use crate::{
    cli::{Exit, Global},
    config::{Config, LogLevel, Overrides, Paths},
    logging,
};

/// What every command needs.
#[derive(Debug)]
pub(super) struct Context {
    /// Options of the command line.
    pub global: Global,
    /// Where things are.
    pub paths: Paths,
    /// The user's file.
    pub config: Config,
}

impl Context {
    /// Finds the folders, reads the configuration and starts the log.
    ///
    /// # Errors
    /// When the configuration is wrong. That there is no log is only said.
    pub(super) fn load(global: Global) -> Result<Self, Failure> {
        let failed = |error: anyhow::Error| Failure::new(Exit::Failed, error);
        let overrides =
            Overrides { config_file: global.config.clone(), data_dir: global.data_dir.clone() };
        let paths = Paths::find(overrides).map_err(|error| failed(error.into()))?;
        if let Some(file) = &global.config
            && !file.exists()
        {
            let words = format!("there is no configuration file {}", file.display());
            return Err(Failure::say(Exit::Failed, words));
        }
        let config = Config::load(&paths.config_file).map_err(|error| failed(error.into()))?;
        let level = level(config.general.log_level, global.verbose);
        if let Err(error) = logging::start(&paths.log_file(), level) {
            warn(&Failure::new(Exit::Failed, error).words());
        }
        Ok(Self { global, paths, config })
    }
}

/// The configured level, raised by each `-v`.
pub(super) fn level(configured: LogLevel, verbose: u8) -> LevelFilter {
    let raised = match verbose {
        0 => configured,
        1 => configured.max(LogLevel::Debug),
        _ => LogLevel::Trace,
    };
    match raised {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
