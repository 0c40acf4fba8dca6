//! The configuration file: reading, refusing, defaults, the example.
//!
//! A file is read once, validated whole, and becomes one value per crate; nothing looks at it again. Every complaint names
//! the file, line and column. What each key means stands in `schema`, which also writes the example.

mod changes;
mod document;
mod error;
mod example;
mod fields;
mod file;
mod password;
mod schema;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use outrigger_protocol::endpoint::{Address, Endpoint, Identity, Secret, TlsMode};

pub use changes::{Changes, between as changes};
use document::{Document, Part};
pub use error::{ConfigError, Place};
pub use file::HttpConfig;
use file::{Keeping, Problem, Reading, Server, Shared, TaskSettings, between, or_none, sized, within};
use password::Password;

/// Everything a sidecar is told, validated and with passwords fetched. `Debug` shows passwords as `***`.
#[derive(Debug)]
pub struct Config {
    /// The source and how it is captured.
    pub capture: outrigger_capture::Config,
    /// The change log.
    pub log: outrigger_storage::Config,
    /// Whether the log keeps what no task selects.
    pub keep_all: bool,
    /// The proxy, where one is wanted.
    pub proxy: Option<outrigger_proxy::Config>,
    /// What the proxy refuses.
    pub guard: outrigger_proxy::guard::Config,
    /// One or more tasks, each with a name of its own.
    pub tasks: Vec<outrigger_applier::Config>,
    /// Status, health, metrics.
    pub http: HttpConfig,
    /// The file as it was read; it may have passwords in it.
    pub text: Secret,
}

/// How a password that the file names is fetched; tests bring their own.
type Fetch = fn(&Password, &Path) -> Result<Secret, String>;

impl Config {
    /// Reads and validates the file at `path`, and fetches the passwords that it names.
    ///
    /// # Errors
    /// When the file cannot be read, says something unknown or out of bounds, or names a password that cannot be had.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = read(path)?;
        Self::parse(&file, &text, Password::resolve)
    }

    /// The complete example, every key with its meaning, bounds and default.
    pub fn example() -> String {
        example::render(false)
    }

    /// What was understood, one setting a line, without secrets.
    pub fn render(&self) -> String {
        show::render(self)
    }

    fn parse(file: &str, text: &str, fetch: Fetch) -> Result<Self, ConfigError> {
        let document = Document::parse(file, text)?;
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        let reader = Reader {
            document: &document,
            folder,
            fetch,
        };
        let capture = reader.capture()?;
        let log = reader.log()?;
        let keeping: Keeping = document.read(reader.required("log")?)?;
        let proxy = reader.proxy()?;
        let guard = reader.guard()?;
        let tasks = reader.tasks(&capture.source)?;
        let http = document
            .part("http")?
            .map(|part| document.read(part))
            .transpose()?
            .unwrap_or_default();
        Ok(Self {
            capture,
            log,
            keep_all: keeping.keep_all,
            proxy,
            guard,
            tasks,
            http,
            text: Secret::new(text),
        })
    }
}

/// The address for `outrigger status` alone: passwords are not fetched, other sections not judged.
pub fn http_address(path: &Path) -> Result<std::net::SocketAddr, ConfigError> {
    let file = path.display().to_string();
    let text = read(path)?;
    let document = Document::parse(&file, &text)?;
    let http: HttpConfig = document
        .part("http")?
        .map(|part| document.read(part))
        .transpose()?
        .unwrap_or_default();
    Ok(http.listen)
}

/// The log's settings and the HTTP address, for commands that need nothing else: passwords are not fetched.
pub fn log_and_http(path: &Path) -> Result<(outrigger_storage::Config, std::net::SocketAddr), ConfigError> {
    let file = path.display().to_string();
    let text = read(path)?;
    let document = Document::parse(&file, &text)?;
    let reader = Reader {
        document: &document,
        folder: Path::new(&file).parent().unwrap_or(Path::new("")),
        fetch: Password::resolve,
    };
    Ok((reader.log()?, http_address(path)?))
}

/// The log and one task, for work without the source: its section is not judged beyond what tasks need of it, its password not
/// fetched. Without a name the
/// file must have one task only.
///
/// # Errors
/// Those of [`Config::load`] that concern the log and the task; [`ConfigError::Wrong`] when there is no such task.
pub fn log_and_task(
    path: &Path,
    name: Option<&str>,
) -> Result<(outrigger_storage::Config, outrigger_applier::Config), ConfigError> {
    let file = path.display().to_string();
    let text = read(path)?;
    let document = Document::parse(&file, &text)?;
    let reader = Reader {
        document: &document,
        folder: path.parent().unwrap_or(Path::new("")),
        fetch: Password::resolve,
    };
    let log = reader.log()?;
    let mut tasks = Vec::new();
    for part in document.parts("task")? {
        let names: TaskSettings = document.read(part)?;
        tasks.push((names.name, part));
    }
    let names: Vec<_> = tasks.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    let found = match (name, tasks.as_slice()) {
        (Some(name), tasks) => tasks
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, part)| *part),
        (None, [(_, part)]) => Some(*part),
        (None, _) => None,
    };
    let Some(part) = found else {
        let message = match name {
            Some(name) => format!("there is no task `{name}`, but: {names}"),
            None => format!("there are several tasks ({names}): name one with --task"),
        };
        return Err(document.missing(message));
    };
    Ok((log, reader.task(part, &nowhere())?))
}

/// A server that is never connected.
pub fn nowhere() -> Endpoint {
    Endpoint {
        address: Address::Socket(PathBuf::new()),
        user: String::new(),
        password: Secret::default(),
        tls: TlsMode::Disabled,
        tls_ca: None,
        tls_identity: None,
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
        file: path.display().to_string(),
        cause,
    })
}

const SECOND: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// No window is longer than a year.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

struct Reader<'d> {
    document: &'d Document<'d>,
    /// Where the file is: relative paths in it begin there.
    folder: &'d Path,
    fetch: Fetch,
}

impl<'d> Reader<'d> {
    fn required(&self, name: &str) -> Result<Part<'d>, ConfigError> {
        self.document
            .part(name)?
            .ok_or_else(|| self.document.missing(format!("the section [{name}] is missing")))
    }

    /// Turns a problem with a part into an error with a place.
    fn judge<T>(&self, part: Part<'_>, outcome: Result<T, Problem>) -> Result<T, ConfigError> {
        outcome.map_err(|(key, message)| self.document.wrong(part, key, message))
    }

    fn endpoint(&self, part: Part<'_>) -> Result<Endpoint, ConfigError> {
        let server: Server = self.document.read(part)?;
        self.judge(part, server.check())?;
        let address = self.judge(part, server.address(self.folder))?;
        let password = (self.fetch)(&server.password, self.folder)
            .map_err(|message| self.document.wrong(part, "password", message))?;
        let tls_identity = server
            .tls_cert
            .zip(server.tls_key)
            .map(|(certificate, key)| Identity {
                certificate: self.folder.join(certificate),
                key: self.folder.join(key),
            });
        Ok(Endpoint {
            address,
            user: server.user,
            password,
            tls: server.tls,
            tls_ca: server.tls_ca.map(|path| self.folder.join(path)),
            tls_identity,
        })
    }

    fn capture(&self) -> Result<outrigger_capture::Config, ConfigError> {
        let part = self.required("source")?;
        let mut config = outrigger_capture::Config::new(self.endpoint(part)?);
        let reading: Reading = self.document.read(part)?;
        config.server_id = reading.server_id;
        config.heartbeat = reading.heartbeat.unwrap_or(config.heartbeat);
        config.allow_partial_row_images = self.shared()?.allow_partial_row_images;
        config.semi_sync = reading.semi_sync;
        config.prepared_wait = reading.prepared_wait.unwrap_or(config.prepared_wait);
        config.connect_timeout = reading.connect_timeout.unwrap_or(config.connect_timeout);
        config.retry_window = reading.retry_window.unwrap_or(config.retry_window);
        self.judge(
            part,
            between(
                "server_id",
                u64::from(config.server_id.unwrap_or(1)),
                1,
                u64::from(u32::MAX),
            )
            .and_then(|()| within("heartbeat", config.heartbeat, TENTH, HOUR))
            .and_then(|()| within("prepared_wait", config.prepared_wait, Duration::ZERO, 24 * HOUR))
            .and_then(|()| within("connect_timeout", config.connect_timeout, TENTH, 10 * MINUTE))
            .and_then(|()| within("retry_window", config.retry_window, SECOND, YEAR)),
        )?;
        Ok(config)
    }

    fn shared(&self) -> Result<Shared, ConfigError> {
        match self.document.part("source")? {
            Some(part) => self.document.read(part),
            None => Ok(Shared::default()),
        }
    }

    fn log(&self) -> Result<outrigger_storage::Config, ConfigError> {
        let part = self.required("log")?;
        let mut config: outrigger_storage::Config = self.document.read(part)?;
        if !config.path.as_os_str().is_empty() {
            config.path = self.folder.join(&config.path);
        }
        config
            .validate()
            .map_err(|error| self.document.wrong(part, "", error.to_string()))?;
        Ok(config)
    }

    fn proxy(&self) -> Result<Option<outrigger_proxy::Config>, ConfigError> {
        let Some(part) = self.document.part("proxy")? else {
            return Ok(None);
        };
        let mut config: outrigger_proxy::Config = self.document.read(part)?;
        for listen in &mut config.listen {
            if let outrigger_proxy::ListenAddress::Unix(path) = &mut listen.address {
                *path = self.folder.join(&*path);
            }
        }
        let tls = self.document.part_in(part, "tls")?;
        if let Some(part) = tls {
            config.tls = self.document.read(part)?;
            let tls = &mut config.tls;
            for path in [&mut tls.cert, &mut tls.key, &mut tls.client_ca]
                .into_iter()
                .flatten()
            {
                *path = self.folder.join(&*path);
            }
        }
        config.validate().map_err(|error| {
            let (part, key) = match (&error, tls) {
                (outrigger_proxy::Error::Tls(_), Some(tls)) => (tls, "ssl_mode"),
                _ => (part, "listen"),
            };
            self.document.wrong(part, key, error.to_string())
        })?;
        let limit = |key, value: usize| between(key, u64::try_from(value).unwrap_or(u64::MAX), 0, 1_000_000);
        self.judge(
            part,
            within("connect_timeout", config.connect_timeout, TENTH, 10 * MINUTE)
                .and_then(|()| limit("max_connections_per_address", config.max_connections_per_address))
                .and_then(|()| limit("max_connections_per_user", config.max_connections_per_user))
                .and_then(|()| within("handshake_timeout", config.handshake_timeout, TENTH, 10 * MINUTE))
                .and_then(|()| within("drain_timeout", config.drain_timeout, Duration::ZERO, HOUR))
                .and_then(|()| within("keepalive", config.keepalive, SECOND, HOUR))
                .and_then(|()| or_none("tcp_user_timeout", config.tcp_user_timeout, SECOND, HOUR))
                .and_then(|()| or_none("idle_timeout", config.idle_timeout, SECOND, YEAR))
                .and_then(|()| within("slow_query", config.slow_query, Duration::ZERO, 24 * HOUR)),
        )?;
        Ok(Some(config))
    }

    fn guard(&self) -> Result<outrigger_proxy::guard::Config, ConfigError> {
        let Some(proxy) = self.document.part("proxy")? else {
            return Ok(outrigger_proxy::guard::Config::default());
        };
        let Some(part) = self.document.part_in(proxy, "guard")? else {
            return Ok(outrigger_proxy::guard::Config::default());
        };
        let config: outrigger_proxy::guard::Config = self.document.read(part)?;
        let known: Vec<_> = outrigger_proxy::guard::RULES
            .iter()
            .map(|rule| rule.name)
            .collect();
        for name in config.rules.keys() {
            if !known.contains(&name.as_str()) {
                let message = format!("the guard has no rule `{name}`; {}", document::hint(name, &known));
                return Err(self.document.wrong(part, "rules", message));
            }
        }
        Ok(config)
    }

    fn tasks(&self, source: &Endpoint) -> Result<Vec<outrigger_applier::Config>, ConfigError> {
        let mut tasks: Vec<outrigger_applier::Config> = Vec::new();
        for part in self.document.parts("task")? {
            let task = self.task(part, source)?;
            if tasks.iter().any(|other| other.name == task.name) {
                return Err(self.document.wrong(
                    part,
                    "name",
                    format!("two tasks are called `{}`", task.name),
                ));
            }
            tasks.push(task);
        }
        if tasks.is_empty() {
            return Err(self
                .document
                .missing("there is no [[task]]; at least one says what to keep in step, and where"));
        }
        Ok(tasks)
    }

    fn task(&self, part: Part<'_>, source: &Endpoint) -> Result<outrigger_applier::Config, ConfigError> {
        let settings: TaskSettings = self.document.read(part)?;
        let selection: outrigger_applier::Selection = self.document.read(part)?;
        let name_is_good = (1..=64).contains(&settings.name.len())
            && settings
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !name_is_good {
            let message = "a task's name is 1 to 64 letters, digits, `-` and `_`";
            return Err(self.document.wrong(part, "name", message));
        }
        if selection.include.is_empty() {
            return Err(self
                .document
                .wrong(part, "include", "name at least one database or table"));
        }
        let Some(target) = self.document.part_in(part, "target")? else {
            let message = format!(
                "task `{}` has no target: add a section [task.target] below it",
                settings.name
            );
            return Err(self.document.wrong(part, "name", message));
        };
        let metadata_database = settings
            .metadata_database
            .unwrap_or_else(|| "outrigger".to_owned());
        if metadata_database.is_empty() || metadata_database.chars().count() > 64 {
            let message = "a database's name has 1 to 64 characters";
            return Err(self.document.wrong(part, "metadata_database", message));
        }
        let connect_timeout = settings.connect_timeout.unwrap_or(10 * SECOND);
        let retry_window = settings.retry_window.unwrap_or(720 * MINUTE);
        self.judge(
            part,
            within("connect_timeout", connect_timeout, TENTH, 10 * MINUTE)
                .and_then(|()| within("retry_window", retry_window, SECOND, YEAR)),
        )?;
        let shared = self.shared()?;
        Ok(outrigger_applier::Config {
            name: settings.name,
            source: source.clone(),
            target: self.endpoint(target)?,
            selection,
            copy: self.copy(part)?,
            metadata_database,
            group: self.group(part)?,
            limits: self.limits(part)?,
            retry_window,
            connect_timeout,
            on_existing_tables: settings.on_existing_tables,
            on_divergence: settings.on_divergence,
            allow_partial_row_images: shared.allow_partial_row_images,
            system_time_zone: shared.system_time_zone,
        })
    }

    fn copy(&self, task: Part<'_>) -> Result<outrigger_applier::CopyConfig, ConfigError> {
        let Some(part) = self.document.part_in(task, "copy")? else {
            return Ok(outrigger_applier::CopyConfig::default());
        };
        let copy: outrigger_applier::CopyConfig = self.document.read(part)?;
        let connections = u64::try_from(copy.connections).unwrap_or(u64::MAX);
        self.judge(
            part,
            between("connections", connections, 1, 64)
                .and_then(|()| between("chunk_rows", copy.chunk_rows, 1, 1_000_000))
                .and_then(|()| {
                    sized(
                        "chunk_bytes",
                        copy.chunk_bytes,
                        ByteSize::kib(64),
                        ByteSize::mib(256),
                    )
                }),
        )?;
        Ok(copy)
    }

    fn group(&self, task: Part<'_>) -> Result<outrigger_applier::GroupConfig, ConfigError> {
        let Some(part) = self.document.part_in(task, "group")? else {
            return Ok(outrigger_applier::GroupConfig::default());
        };
        let group: outrigger_applier::GroupConfig = self.document.read(part)?;
        let transactions = u64::try_from(group.max_transactions).unwrap_or(u64::MAX);
        self.judge(
            part,
            between("max_transactions", transactions, 1, 100_000)
                .and_then(|()| between("lanes", u64::try_from(group.lanes).unwrap_or(u64::MAX), 1, 64))
                .and_then(|()| {
                    sized(
                        "max_bytes",
                        group.max_bytes,
                        ByteSize::kib(64),
                        ByteSize::mib(256),
                    )
                })
                .and_then(|()| within("max_delay", group.max_delay, Duration::ZERO, 10 * SECOND)),
        )?;
        Ok(group)
    }

    fn limits(&self, task: Part<'_>) -> Result<outrigger_applier::LimitsConfig, ConfigError> {
        let Some(part) = self.document.part_in(task, "limits")? else {
            return Ok(outrigger_applier::LimitsConfig::default());
        };
        let limits: outrigger_applier::LimitsConfig = self.document.read(part)?;
        if limits.bytes_per_second != ByteSize(0) {
            let (least, most) = (ByteSize::kib(64), ByteSize::tib(1));
            self.judge(
                part,
                sized("bytes_per_second", limits.bytes_per_second, least, most),
            )?;
        }
        if !limits.max_latency.is_zero() {
            let (least, most) = (Duration::from_millis(1), MINUTE);
            self.judge(part, within("max_latency", limits.max_latency, least, most))?;
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests;
