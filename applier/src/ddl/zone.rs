//! What a session of the source meant by the time zone `SYSTEM`: the clock of its server's machine, which the target's does not share.
//! No server says which zone that is (it has an abbreviation at most, of one season), so the target is told it by what it does: by its
//! offset where that never changed, as `SYSTEM` where the target's machine keeps the same time, and else by the name in the
//! configuration, once that is seen to be right.

use crate::config::Config;
use crate::error::{Error, Side};
use crate::link::{self, Link};
use crate::literal::quote_text;
use crate::schema::zone::Zones;

/// What a server calls its machine's time zone.
const SYSTEM: &str = "SYSTEM";
/// "Unknown or incorrect time zone".
const UNKNOWN: u16 = 1298;
/// Seconds from one look at a clock to the next: no divisor of a day or a week, so that all hours and weekdays are looked at.
const STEP: u64 = 36_000;
/// Looks at a clock: all values that a TIMESTAMP can have.
const LOOKS: u64 = (1 << 31) / STEP;

/// True when the session's zone is that of its server's machine.
pub(crate) fn is_system(zone: &str) -> bool {
    zone.eq_ignore_ascii_case(SYSTEM)
}

/// How a time zone differs from UTC, from 1970 to 2038.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The least and the greatest offset, in seconds.
    least: i64,
    most: i64,
    /// Over all offsets and when they hold.
    digest: u64,
}

impl Clock {
    /// That of the source's machine.
    pub(crate) async fn of_source(conn: &mut Link) -> Result<Self, Error> {
        Self::read(conn, SYSTEM)
            .await
            .map_err(|cause| Error::server(Side::Source, "looking at its machine's time zone", cause))
    }

    /// That of a zone as this server knows it. The session keeps the zone.
    async fn read(conn: &mut Link, zone: &str) -> Result<Self, mysql_async::Error> {
        conn.query_drop(format!("SET time_zone = {}", quote_text(zone)))
            .await?;
        // Servers of 5.7 have no other way to count.
        let digits: Vec<String> = (0..16)
            .map(|digit| match digit {
                0 => "SELECT 0 AS d".to_owned(),
                _ => format!("SELECT {digit}"),
            })
            .collect();
        let digits = digits.join(" UNION ALL ");
        let question = format!(
            "SELECT MIN(o), MAX(o), BIT_XOR(CRC32(CONCAT(n, ' ', o))) FROM \
             (SELECT n, TIMESTAMPDIFF(SECOND, '1970-01-01' + INTERVAL n SECOND, FROM_UNIXTIME(n)) AS o FROM \
             (SELECT {STEP} * (a.d + 16 * b.d + 256 * c.d + 4096 * d.d) AS n \
             FROM ({digits}) AS a, ({digits}) AS b, ({digits}) AS c, ({digits}) AS d) AS ns WHERE n <= {STEP} * {LOOKS}) AS os"
        );
        let seen: Option<(i64, i64, u64)> = conn.query_first(question).await?;
        let (least, most, digest) =
            seen.ok_or_else(|| mysql_async::Error::Other("a question without an answer".into()))?;
        Ok(Self { least, most, digest })
    }

    /// As an offset that `time_zone` takes, where it is always the same.
    fn fixed(self) -> Option<String> {
        let minutes = self.most / 60;
        let fits = self.least == self.most && self.most % 60 == 0 && (-839..=840).contains(&minutes);
        let sign = if minutes < 0 { '-' } else { '+' };
        fits.then(|| format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60))
    }
}

/// How the target is told the zone of the source's machine, for `statement`. `source` is that machine's clock; `None`: nobody can ask it.
/// `named` is what it is by the configuration. The session has any zone afterwards.
pub(super) async fn resolve(
    conn: &mut Link,
    source: Option<Clock>,
    named: Option<&str>,
    statement: &str,
) -> Result<String, Error> {
    let unsuitable = |side, what| Err(Error::Unsuitable { side, what });
    let Some(source) = source else {
        return named.map(str::to_owned).ok_or_else(|| Error::Unsuitable {
            side: Side::Source,
            what: format!(
                "{statement} ran in the time zone SYSTEM, that of the source's machine, which the log does not tell: name it with \
                 --system-time-zone"
            ),
        });
    };
    let fail = |cause| Error::server(Side::Target, "comparing time zones", cause);
    if let Some(name) = named {
        return match Clock::read(conn, name).await {
            Ok(clock) if clock == source => Ok(name.to_owned()),
            Ok(_) => unsuitable(
                Side::Source,
                format!(
                    "its machine's clock does not run as in {name}, which is its system_time_zone in [source]"
                ),
            ),
            Err(mysql_async::Error::Server(error)) if error.code == UNKNOWN => {
                unsuitable(Side::Target, unknown(name, statement))
            }
            Err(cause) => Err(fail(cause)),
        };
    }
    if let Some(offset) = source.fixed() {
        return Ok(offset);
    }
    if Clock::read(conn, SYSTEM).await.map_err(fail)? == source {
        return Ok(SYSTEM.to_owned());
    }
    unsuitable(
        Side::Source,
        format!(
            "{statement} depends on its machine's time zone (time_zone is SYSTEM), which no server can be told by an offset, and the target's \
             machine has another: name it in [source], system_time_zone = \"Europe/Berlin\" say, then start the task again"
        ),
    )
}

/// What to do about a zone that the target does not know.
pub(super) fn unknown(zone: &str, statement: &str) -> String {
    format!(
        "it does not know the time zone {zone}, under which the source ran {statement}: load its time zone tables \
         (mysql_tzinfo_to_sql /usr/share/zoneinfo | mysql mysql), then start the task again"
    )
}

/// Whether definition statements of the source's sessions can be told their time zone on the target: asked before anything is started.
///
/// # Errors
/// When they can't, or a server can't be asked.
pub async fn check_system_zone(config: &Config) -> Result<(), Error> {
    let mut source = link::connect(&config.source, Side::Source, config.connect_timeout).await?;
    if !is_system(Zones::of_source(&mut source).await?.global()) {
        return Ok(());
    }
    let clock = Clock::of_source(&mut source).await?;
    let mut target = link::connect(&config.target, Side::Target, config.connect_timeout).await?;
    let named = config.system_time_zone.as_deref();
    let found = resolve(
        &mut target,
        Some(clock),
        named,
        "what some definition statements do",
    )
    .await;
    // The answer is in hand; how the sessions end does not matter.
    source.disconnect().await.ok();
    target.disconnect().await.ok();
    found.map(|_zone| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_never_changed_is_an_offset() {
        let fixed = |least, most| {
            let digest = 0;
            Clock { least, most, digest }.fixed()
        };
        for (seconds, offset) in [
            (0, Some("+00:00")),
            (32_400, Some("+09:00")),
            (-12_600, Some("-03:30")),
            (-1800, Some("-00:30")),
            (50_400, Some("+14:00")),
            (50_460, None),
            (-2670, None),
        ] {
            assert_eq!(fixed(seconds, seconds).as_deref(), offset);
        }
        assert_eq!(fixed(3600, 7200), None);
    }
}
