//! Creating an object on the target as the source defines it: under the settings that its text was made for, with the
//! definer that the target's account may give.

use outrigger_protocol::sql::{SqlMode, ddl, lexable};

use crate::error::{Error, Side};
use crate::literal::{quote_name, quote_text};
use crate::schema::{Found, MadeUnder, ObjectKey, Space};
use crate::target::{self, Target};

/// Takes back what [`target::SESSION`] does not set.
const RESET: &str = "SET explicit_defaults_for_timestamp = DEFAULT, default_collation_for_utf8mb4 = DEFAULT";

/// Words of `sql_mode` that servers before 8.0 print and later ones refuse. They change nothing about a routine.
const GONE_MODES: [&str; 11] = [
    "POSTGRESQL",
    "ORACLE",
    "MSSQL",
    "DB2",
    "MAXDB",
    "NO_KEY_OPTIONS",
    "NO_TABLE_OPTIONS",
    "NO_FIELD_OPTIONS",
    "MYSQL323",
    "MYSQL40",
    "NO_AUTO_CREATE_USER",
];

/// The names of a database's tables and views on the target.
pub(crate) async fn existing_tables(target: &mut Target, database: &str) -> Result<Vec<String>, Error> {
    let query = format!(
        "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = {}",
        quote_text(database)
    );
    target.conn().query(query).await.map_err(|cause| {
        Error::server(
            Side::Target,
            format!("listing tables of {}", quote_name(database)),
            cause,
        )
    })
}

/// Whether the target's table holds no row.
pub(crate) async fn is_empty(target: &mut Target, key: &ObjectKey) -> Result<bool, Error> {
    let name = key.quoted();
    let row: Result<Option<u8>, _> = target
        .conn()
        .query_first(format!("SELECT 1 FROM {name} LIMIT 1"))
        .await;
    row.map(|row| row.is_none())
        .map_err(|cause| Error::server(Side::Target, format!("looking for rows in {name}"), cause))
}

/// Drops the object, whatever it is there: a table where the source has a view now, for one. Rows of a database's tables
/// are never dropped with the database.
pub(crate) async fn drop(target: &mut Target, key: &ObjectKey) -> Result<(), Error> {
    let name = key.quoted();
    let statements = match key.space {
        Space::Database => return Ok(()),
        Space::Table => vec![
            format!("DROP VIEW IF EXISTS {name}"),
            format!("DROP TABLE IF EXISTS {name}"),
        ],
        Space::Procedure => vec![format!("DROP PROCEDURE IF EXISTS {name}")],
        Space::Function => vec![format!("DROP FUNCTION IF EXISTS {name}")],
    };
    for statement in statements {
        match target.execute(&statement, &format!("dropping {name}")).await {
            Ok(_) => {}
            // `DROP VIEW` of a base table and the other way round; or the database is not there at all.
            Err(error) if matches!(error.code(), Some(1347 | 1965 | 1049 | 1051)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Creates the object; it must not exist, a database excepted. An absent object is nothing to create. `utf8mb4` is the collation that
/// the source means where its definitions name no other.
pub(crate) async fn create(
    target: &mut Target,
    key: &ObjectKey,
    found: &Found,
    utf8mb4: &str,
) -> Result<(), Error> {
    let doing = format!("creating {}", key.quoted());
    let collation = format!("default_collation_for_utf8mb4 = {}", quote_text(utf8mb4));
    match found {
        Found::Absent => Ok(()),
        Found::Database { create } => {
            let alter = alter_database(create, key);
            let statements: Vec<&[u8]> = std::iter::once(create)
                .chain(&alter)
                .map(String::as_bytes)
                .collect();
            under(target, &[collation], &statements, &doing).await
        }
        Found::Table { create, .. } => in_database(target, key, &[collation], create, &doing).await,
        Found::View { create, made_under } => {
            let settings = [vec![collation], client(made_under)].concat();
            with_definer(target, key, &settings, (create.as_slice(), made_under), &doing).await
        }
        Found::Routine {
            create,
            sql_mode,
            made_under,
        } => {
            let settings = [vec![collation, mode(sql_mode)], client(made_under)].concat();
            with_definer(target, key, &settings, (create.as_slice(), made_under), &doing).await
        }
    }
}

/// The settings of the session that made a view or a routine.
fn client(made_under: &MadeUnder) -> Vec<String> {
    let MadeUnder { charset, collation } = made_under;
    vec![
        format!("character_set_client = {}", quote_text(charset)),
        format!("collation_connection = {}", quote_text(collation)),
    ]
}

/// A routine's `sql_mode`, as far as servers still know it.
fn mode(words: &str) -> String {
    let known: Vec<&str> = words
        .split(',')
        .filter(|word| !GONE_MODES.contains(word))
        .collect();
    format!("sql_mode = {}", quote_text(&known.join(",")))
}

fn drop_count(_rows: u64) {}

/// The default character set, collation and encryption of `CREATE DATABASE IF NOT EXISTS` as an ALTER, for a database that
/// was there before.
fn alter_database(create: &str, key: &ObjectKey) -> Option<String> {
    let name = key.quoted();
    let options = create.split_once(&name)?.1.trim();
    // The encryption option needs a privilege of its own and is written even where it is the default.
    let options = options.split("/*!80016").next().unwrap_or(options).trim();
    (!options.is_empty()).then(|| format!("ALTER DATABASE {name} {options}"))
}

async fn in_database(
    target: &mut Target,
    key: &ObjectKey,
    settings: &[String],
    create: &[u8],
    doing: &str,
) -> Result<(), Error> {
    target
        .execute(format!("USE {}", quote_name(&key.database)), doing)
        .await?;
    under(target, settings, &[create], doing).await
}

/// Runs the statements under these settings, as far as none fails.
async fn under(
    target: &mut Target,
    settings: &[String],
    statements: &[&[u8]],
    doing: &str,
) -> Result<(), Error> {
    target.execute(set_statement(settings), doing).await?;
    let mut outcome = Ok(0);
    for statement in statements {
        if outcome.is_ok() {
            outcome = target.execute(statement, doing).await;
        }
    }
    target.execute(RESET, doing).await?;
    target.execute(target::SESSION, doing).await?;
    outcome.map(drop_count)
}

/// Settings under which a definition means what its text says, and what it needs of its own. Definitions that an older sql_mode
/// allowed are created as they are.
fn set_statement(own: &[String]) -> String {
    const ALL: [&str; 2] = [
        "sql_mode = 'NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'",
        "explicit_defaults_for_timestamp = 1",
    ];
    let settings: Vec<&str> = ALL.into_iter().chain(own.iter().map(String::as_str)).collect();
    format!("SET {}", settings.join(", "))
}

async fn with_definer(
    target: &mut Target,
    key: &ObjectKey,
    settings: &[String],
    (create, made_under): (&[u8], &MadeUnder),
    doing: &str,
) -> Result<(), Error> {
    if target.capabilities().set_any_definer {
        match in_database(target, key, settings, create, doing).await {
            // The definer is no account of the target's, and the privilege to name one that doesn't exist is missing.
            Err(error) if matches!(error.code(), Some(1227 | 1449)) => {}
            other => return other,
        }
    }
    let create = own_definer(create, &made_under.charset);
    in_database(target, key, settings, &create, doing).await
}

/// The statement, in the character set `charset`, with the applying account as its definer.
fn own_definer(create: &[u8], charset: &str) -> Vec<u8> {
    let statement = ddl::classify(&lexable(create, charset), SqlMode::empty());
    let parts = statement
        .definer
        .and_then(|at| Some((create.get(..at.start)?, create.get(at.end..)?)));
    match parts {
        Some((before, after)) => [before, b"DEFINER=CURRENT_USER", after].concat(),
        None => create.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_databases_options_become_an_alter() {
        let create = "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `s``p` /*!40100 DEFAULT CHARACTER SET latin1 */ \
                      /*!80016 DEFAULT ENCRYPTION='N' */";
        assert_eq!(
            alter_database(create, &ObjectKey::database("s`p")).unwrap(),
            "ALTER DATABASE `s``p` /*!40100 DEFAULT CHARACTER SET latin1 */"
        );
    }

    #[test]
    fn a_session_is_the_sources_of_any_version() {
        let old = ["default_collation_for_utf8mb4 = 'utf8mb4_general_ci'".to_owned()];
        assert_eq!(
            set_statement(&old),
            "SET sql_mode = 'NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', explicit_defaults_for_timestamp = 1, \
             default_collation_for_utf8mb4 = 'utf8mb4_general_ci'"
        );
        assert_eq!(
            mode("ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION"),
            "sql_mode = 'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'"
        );
        assert_eq!(
            mode("PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE,ORACLE,NO_KEY_OPTIONS"),
            "sql_mode = 'PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE'"
        );
        assert_eq!(mode(""), "sql_mode = ''");
    }

    #[test]
    fn the_definer_becomes_the_applying_account() {
        let create =
            "CREATE ALGORITHM=UNDEFINED DEFINER=`a``b`@`%` SQL SECURITY DEFINER VIEW `s`.`v` AS select 1";
        assert_eq!(
            own_definer(create.as_bytes(), "utf8mb4"),
            b"CREATE ALGORITHM=UNDEFINED DEFINER=CURRENT_USER SQL SECURITY DEFINER VIEW `s`.`v` AS select 1"
        );
        // A character of SJIS that ends in a backtick's byte.
        assert_eq!(
            own_definer(
                b"CREATE DEFINER=`\x83\x60`@`%` VIEW `v` AS select '\x95\x5c'",
                "sjis"
            ),
            b"CREATE DEFINER=CURRENT_USER VIEW `v` AS select '\x95\x5c'"
        );
    }
}
