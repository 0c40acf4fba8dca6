//! The file as a whole: the example against the structs, defaults, places, secrets.

use std::collections::BTreeSet;

use super::schema::SECTIONS;
use super::*;

/// Every password is this one, wherever it is to come from.
fn fetch(password: &Password, _: &Path) -> Result<Secret, String> {
    match password {
        Password::Literal(secret) => Ok(secret.clone()),
        _ => Ok(Secret::new("hunter2")),
    }
}

fn parse(text: &str) -> Result<Config, String> {
    Config::parse("o.toml", text, fetch).map_err(|error| error.to_string())
}

fn complaint(text: &str) -> String {
    parse(text).map(|_| ()).unwrap_err()
}

const MINIMAL: &str = "\
[source]
user = \"o\"
password = \"hunter2\"

[log]
path = \"/tmp/log\"

[[task]]
name = \"main\"
include = [\"shop\"]

[task.target]
host = \"target\"
user = \"o\"
password = { env = \"X\" }
";

fn with(line: &str, replacement: &str) -> String {
    assert!(MINIMAL.contains(line), "{line}");
    MINIMAL.replacen(line, replacement, 1)
}

#[test]
fn the_schema_has_exactly_the_fields_of_the_structs() {
    let structs: [(&str, Vec<&[&str]>); 11] = [
        (
            "source",
            vec![
                fields::of::<Server>(),
                fields::of::<Reading>(),
                fields::of::<Shared>(),
            ],
        ),
        (
            "log",
            vec![fields::of::<outrigger_storage::Config>(), fields::of::<Keeping>()],
        ),
        ("proxy", vec![fields::of::<outrigger_proxy::Config>()]),
        ("proxy.tls", vec![fields::of::<outrigger_proxy::TlsConfig>()]),
        (
            "proxy.guard",
            vec![fields::of::<outrigger_proxy::guard::Config>()],
        ),
        (
            "task",
            vec![
                fields::of::<TaskSettings>(),
                fields::of::<outrigger_applier::Selection>(),
            ],
        ),
        ("task.target", vec![fields::of::<Server>()]),
        ("task.copy", vec![fields::of::<outrigger_applier::CopyConfig>()]),
        ("task.group", vec![fields::of::<outrigger_applier::GroupConfig>()]),
        (
            "task.limits",
            vec![fields::of::<outrigger_applier::LimitsConfig>()],
        ),
        ("http", vec![fields::of::<HttpConfig>()]),
    ];
    assert_eq!(SECTIONS.len(), structs.len());
    for (name, structs) in structs {
        let section = SECTIONS.iter().find(|section| section.name == name).unwrap();
        let documented: BTreeSet<_> = section.keys.iter().map(|key| key.name).collect();
        let read: BTreeSet<_> = structs.iter().copied().flatten().copied().collect();
        assert_eq!(documented, read, "[{name}]");
        for key in section.keys {
            assert!(
                !key.meaning.is_empty() && !key.bounds.is_empty(),
                "[{name}] {}",
                key.name
            );
        }
    }
}

#[test]
fn the_example_is_a_configuration_and_shows_the_defaults() {
    let example = parse(&Config::example()).unwrap();
    let spelled_out = parse(&example::render(true)).unwrap();
    let (example, spelled_out) = (format!("{example:#?}"), format!("{spelled_out:#?}"));
    // Line by line, so that a failure shows the one default that the schema has wrong.
    for (by_default, by_schema) in example.lines().zip(spelled_out.lines()) {
        assert_eq!(by_default, by_schema);
    }
    assert_eq!(example.len(), spelled_out.len());
    for section in SECTIONS {
        for key in section.keys {
            let line = format!("{} = ", key.name);
            assert!(Config::example().contains(&line), "{}", key.name);
        }
    }
}

#[test]
fn examples_of_keys_without_a_default_are_accepted() {
    let socket = with(
        "password = \"hunter2\"",
        "password = \"\"\nsocket = \"/run/mysqld/mysqld.sock\"\nserver_id = 4000001",
    );
    let config = parse(&socket).unwrap();
    assert_eq!(
        config.capture.source.address.to_string(),
        "/run/mysqld/mysqld.sock"
    );
    assert_eq!(config.capture.server_id, Some(4_000_001));
}

#[test]
fn secrets_stay_secret() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.capture.source.password.expose(), "hunter2");
    assert_eq!(config.tasks[0].target.password.expose(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    let shown = config.render();
    assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
    assert!(!complaint(&with("password = \"hunter2\"", "password = [\"hunter2\"]")).contains("hunter2"));
    assert!(!complaint(&with("password = \"hunter2\"", "password = \"hunter2")).contains("hunter2"));
}

#[test]
fn complaints_have_a_place_and_a_sentence() {
    let cases = [
        (
            "user = \"o\"\n",
            "",
            "o.toml:1:1: missing field `user` (in [source])",
        ),
        (
            "user = \"o\"",
            "user = \"\"",
            "o.toml:2:8: name the account to use",
        ),
        (
            "user = \"o\"",
            "user = \"o\"\nport = 0",
            "o.toml:3:8: a port is 1 to 65535",
        ),
        (
            "user = \"o\"",
            "user = \"o\"\nsocket = \"/s\"\nport = 3",
            "o.toml:4:8: give either `host` and `port`, or `socket`",
        ),
        (
            "user = \"o\"",
            "user = \"o\"\nheartbeat = \"soon\"",
            "o.toml:3:13: ",
        ),
        (
            "user = \"o\"",
            "user = \"o\"\nheartbeat = \"2h\"",
            "o.toml:3:13: `heartbeat` must lie between 100ms and 1h",
        ),
        (
            "path = \"/tmp/log\"",
            "path = \"/tmp/log\"\nquota = \"3 MiB\"",
            "quota is 3.0 MiB: give it at least 64 MiB",
        ),
        (
            "name = \"main\"",
            "name = \"a b\"",
            "o.toml:9:8: a task's name is",
        ),
        (
            "include = [\"shop\"]",
            "include = []",
            "o.toml:10:11: name at least one",
        ),
        (
            "include = [\"shop\"]",
            "include = [\"a.b.c\"]",
            "neither `database` nor `database.table`",
        ),
        (
            "[task.target]",
            "[task.copy]\nconnections = 65\n[task.target]",
            "`connections` must lie between 1 and 64",
        ),
        ("[[task]]", "[task]", "write it [[task]]"),
        ("[log]", "[proxy]\nlisten = []\n[log]", "o.toml:6:10: "),
        (
            "[log]",
            "[proxy.guard]\nrules = { ghost = \"warn\" }\n[log]",
            "o.toml:6:9: the guard has no rule `ghost`; the nearest is `gh-ost`",
        ),
        (
            "[log]",
            "[proxy.guard]\nrules = { gh-ost = \"deny\" }\n[log]",
            "o.toml:6:20: unknown variant `deny`",
        ),
        (
            "[log]",
            "[proxy.guard]\nrule = 1\n[log]",
            "o.toml:6:1: unknown key `rule` in [proxy.guard]; the nearest known key is `rules`",
        ),
        (
            "[log]\npath = \"/tmp/log\"\n",
            "",
            "o.toml:1:1: the section [log] is missing",
        ),
    ];
    complain(&cases);
}

#[test]
fn complaints_about_access() {
    complain(&[
        (
            "[log]",
            "[proxy]\nallow = [\"10.0.0.7/8\"]\n[log]",
            "o.toml:6:9: \"10.0.0.7/8\" is no address and no network",
        ),
        (
            "[log]",
            "[proxy]\nlisten = [{ address = \"0.0.0.0:1\", alow = [] }]\n[log]",
            "unknown field `alow`, expected one of `address`, `allow`",
        ),
        (
            "[log]",
            "[proxy]\nlisten = [{ address = \"/s\", allow = [] }]\n[log]",
            "o.toml:6:10: proxy configuration: listen: access lists are for TCP",
        ),
        (
            "[log]",
            "[proxy]\nlisten = [3306]\n[log]",
            "expected an address, or a table with one",
        ),
    ]);
}

#[test]
fn complaints_about_tls() {
    complain(&[
        (
            "user = \"o\"",
            "user = \"o\"\ntls = \"verify_ca\"",
            "o.toml:3:7: name the authority",
        ),
        (
            "user = \"o\"",
            "user = \"o\"\ntls_ca = \"ca.pem\"",
            "o.toml:3:10: nothing is verified by it",
        ),
        (
            "user = \"o\"",
            "user = \"o\"\ntls = \"required\"\ntls_cert = \"c.pem\"",
            "o.toml:4:12: name the certificate's private key",
        ),
        (
            "user = \"o\"",
            "user = \"o\"\ntls_key = \"k.pem\"",
            "o.toml:3:11: name the key's certificate",
        ),
        (
            "user = \"o\"",
            "user = \"o\"\ntls_cert = \"c.pem\"\ntls_key = \"k.pem\"",
            "o.toml:3:12: it is shown over TLS only",
        ),
        (
            "user = \"o\"",
            "user = \"o\"\nsocket = \"/s\"\ntls = \"required\"",
            "o.toml:4:7: a unix socket is within this machine",
        ),
        (
            "[log]",
            "[proxy.tls]\nssl_mode = \"required\"\ncert = \"c.pem\"\n[log]",
            "o.toml:6:12: proxy configuration: TLS with clients needs",
        ),
        (
            "[log]",
            "[proxy.tls]\nssl_mode = \"disabled\"\n[log]",
            "o.toml:6:12: unknown variant `disabled`, expected one of `off`, `optional`, `required`",
        ),
    ]);
}

/// Each line, replaced, is complained of with the sentence.
fn complain(cases: &[(&str, &str, &str)]) {
    for (line, replacement, expected) in cases {
        let found = complaint(&with(line, replacement));
        assert!(
            found.contains(expected),
            "{replacement:?}\nfound    {found}\nexpected {expected}"
        );
    }
}

#[test]
fn the_guards_actions_are_read_and_shown() {
    let text = with(
        "[log]",
        "[proxy]\n[proxy.guard]\nrules = { gh-ost = \"warn\" }\n[log]",
    );
    let config = parse(&text).unwrap();
    let action = config.guard.rules.get("gh-ost");
    assert_eq!(action, Some(&outrigger_proxy::guard::Action::Warn));
    assert!(config.render().contains("guard gh-ost"), "{}", config.render());
}

#[test]
fn a_listener_may_have_lists_of_its_own() {
    let text = with(
        "[log]",
        "[proxy]\nlisten = [\"./s\", { address = \"0.0.0.0:1\", allow = [\"10.0.0.0/8\"] }]\ndeny = [\"::1\"]\n[log]",
    );
    let config = parse(&text).unwrap();
    let proxy = config.proxy.as_ref().unwrap();
    assert_eq!((&proxy.listen[0].allow, &proxy.listen[1].deny), (&None, &None));
    assert_eq!(
        proxy.listen[1].allow.as_ref().unwrap()[0].to_string(),
        "10.0.0.0/8"
    );
    let shown = config.render();
    assert!(shown.contains("  allow") && shown.contains("::1/128"), "{shown}");
}

#[test]
fn two_tasks_need_two_names() {
    let task = MINIMAL.split_once("[[task]]").unwrap().1;
    let found = complaint(&format!("{MINIMAL}\n[[task]]{task}"));
    assert!(found.ends_with("two tasks are called `main`"), "{found}");
}

#[test]
fn a_password_that_cannot_be_had_is_named() {
    let found = Config::parse(
        "o.toml",
        &with("{ env = \"X\" }", "{ env = \"OUTRIGGER_TEST_NOT_SET\" }"),
        Password::resolve,
    );
    let found = found.map(|_| ()).unwrap_err().to_string();
    assert!(
        found.contains("the environment variable OUTRIGGER_TEST_NOT_SET"),
        "{found}"
    );
}

#[test]
fn status_reads_the_address_without_passwords() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        format!("{MINIMAL}\n[http]\nlisten = \"127.0.0.1:99\"\n"),
    )
    .unwrap();
    assert_eq!(http_address(file.path()).unwrap().port(), 99);
}
