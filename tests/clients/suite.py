"""A framework's own tests against MySQL, an outcome a line: suite.py sqlalchemy|django PORT.

SQLALCHEMY_SOURCE and DJANGO_SOURCE name folders of the unpacked source distributions, of the versions that are installed. Exits with 3
where something is missing. The connections are mysqlclient's, or PyMySQL's where that is not installed.
"""

import contextlib
import importlib.util
import io
import os
import runpy
import sys
import types

framework, port = sys.argv[1], int(sys.argv[2])
account = {"host": "127.0.0.1", "port": port, "user": "app", "password": "app"}
outcomes = {}


def missing(what):
    print(what)
    sys.exit(3)


def source():
    """The folder that the environment names."""
    variable = f"{framework.upper()}_SOURCE"
    folder = os.environ.get(variable) or missing(f"{variable} is not set")
    os.chdir(folder)
    return os.getcwd()


def note(name, outcome, why=""):
    """What became of a test; of one with several parts, the worst."""
    if outcome == "passed":
        outcomes.setdefault(name, outcome)
    else:
        outcomes[name] = outcome + (f": {why.strip().splitlines()[-1]}" if outcome == "failed" and why.strip() else "")


def sqlalchemy(driver):
    """What every dialect must pass, and what is MySQL's own."""
    folder = source()
    if not importlib.util.find_spec("pytest"):
        missing("pytest is not installed")
    import pytest

    conn = __import__(driver).connect(**account)
    for database in ("sqlalchemy", "test_schema"):
        conn.cursor().execute(f"DROP DATABASE IF EXISTS {database}")
        conn.cursor().execute(f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
    conn.close()

    class Outcomes:
        def pytest_runtest_logreport(self, report):
            if report.when == "call" or not report.passed:
                note(report.nodeid, report.outcome, str(report.longrepr or ""))

        def pytest_collectreport(self, report):
            if report.failed:
                note(report.nodeid, "failed", str(report.longrepr))

    sys.path.insert(0, folder)
    url = f"mysql+{driver.lower()}://app:app@127.0.0.1:{port}/sqlalchemy?charset=utf8mb4"
    tests = ["test/dialect/test_suite.py", "test/dialect/mysql"]
    pytest.main(["-q", "-p", "no:cacheprovider", "--dburi", url, *tests], plugins=[Outcomes()])


def django(driver):
    """Those whose outcome is most likely to depend on the connection."""
    folder = source()
    if driver == "pymysql":
        import pymysql

        pymysql.version_info = (2, 2, 7, "final", 0)
        pymysql.install_as_MySQLdb()
    labels = (
        "aggregation annotations backends basic bulk_create constraints custom_pk datatypes delete expressions get_or_create inspectdb"
        " introspection many_to_many model_fields queries raw_query select_for_update transaction_hooks transactions update"
    )
    settings = types.ModuleType("settings_of_suite")

    def database(name):
        return {"ENGINE": "django.db.backends.mysql", "NAME": name, **{key.upper(): value for key, value in account.items()}}

    settings.DATABASES = {"default": database("django"), "other": database("django_other")}
    settings.SECRET_KEY = "no secret"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
    settings.USE_TZ = False
    sys.modules[settings.__name__] = settings
    sys.path[:0] = [folder, os.path.join(folder, "tests")]
    from django.test.runner import DiscoverRunner, iter_test_cases

    run = DiscoverRunner.run_suite

    def run_and_note(self, suite, **options):
        for test in iter_test_cases(suite):
            note(test.id(), "passed")
        result = run(self, suite, **options)
        for outcome in ("skipped", "failures", "errors"):
            for test, why in getattr(result, outcome):
                note(test.id(), "skipped" if outcome == "skipped" else "failed", why)
        return result

    DiscoverRunner.run_suite = run_and_note
    path = os.path.join(folder, "tests", "runtests.py")
    sys.argv = [path, f"--settings={settings.__name__}", "--parallel=1", "--noinput", *labels.split()]
    with contextlib.suppress(SystemExit):
        runpy.run_path(path, run_name="__main__")


drivers = [name for name in ("MySQLdb", "pymysql") if importlib.util.find_spec(name)] or missing("neither mysqlclient nor PyMySQL")
said = io.StringIO()
try:
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        {"sqlalchemy": sqlalchemy, "django": django}[framework](drivers[0])
except SystemExit:
    print(said.getvalue())
    raise
for name, outcome in sorted(outcomes.items()):
    print(name, outcome)
counts = {kind: sum(outcome.startswith(kind) for outcome in outcomes.values()) for kind in ("passed", "failed", "skipped")}
if not counts["passed"]:
    print(said.getvalue())
    sys.exit(1)
print(", ".join(f"{count} {kind}" for kind, count in counts.items()))
