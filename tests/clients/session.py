"""One session of a Python client, printed: session.py CLIENT PORT. Exits with 3 where the client is not installed."""

import sys

client, port = sys.argv[1], int(sys.argv[2])
account = {"host": "127.0.0.1", "port": port, "user": "app", "password": "app", "database": "play"}


def speak(conn, placeholder="%s"):
    cursor = conn.cursor()
    cursor.execute("DROP TABLE IF EXISTS py")
    cursor.execute("CREATE TABLE py (id INT AUTO_INCREMENT PRIMARY KEY, s TEXT, b LONGBLOB, d DECIMAL(8, 2), t DATETIME(3))")
    rows = [("é" * n, bytes(range(256)) * n, "1.50", "2026-11-23 01:02:03.004") for n in range(40)]
    cursor.executemany(f"INSERT INTO py (s, b, d, t) VALUES ({', '.join([placeholder] * 4)})", rows)
    print(cursor.rowcount, cursor.lastrowid)
    conn.commit()
    cursor.execute("INSERT INTO py (b) VALUES (%s)", (b"x" * 17_000_000,))
    conn.rollback()
    cursor.execute("SELECT id, s, LENGTH(b), d, t FROM py ORDER BY id")
    print(cursor.description and [column[0] for column in cursor.description], cursor.fetchall())
    for wrong in ["SELECT nothing FROM nowhere", "SELEC", "INSERT INTO py (id) VALUES (1)"]:
        try:
            cursor.execute(wrong)
        except Exception as error:  # noqa: BLE001: whatever the client makes of it is compared
            print(type(error).__name__, error)
    cursor.execute("DROP PROCEDURE IF EXISTS two")
    cursor.execute("CREATE PROCEDURE two(IN a INT, OUT b INT) BEGIN SELECT a; SET b = a + 1; END")
    print(cursor.callproc("two", (5, 0)))
    while getattr(cursor, "nextset", lambda: None)():
        pass
    cursor.close()
    cursor = conn.cursor()
    cursor.execute("SELECT DATABASE(), CURRENT_USER(), @@character_set_client")
    print(cursor.fetchall())
    conn.close()


try:
    if client == "pymysql":
        import pymysql

        speak(pymysql.connect(**account))
    elif client == "mysqlclient":
        import MySQLdb

        speak(MySQLdb.connect(**account))
    elif client in ("connector", "connector-pure"):
        import mysql.connector

        conn = mysql.connector.connect(**account, use_pure=client == "connector-pure", ssl_disabled=False)
        prepared = conn.cursor(prepared=True)
        prepared.execute("SELECT %s, %s", (1, "two"))
        print(prepared.fetchall())
        prepared.close()
        conn.cmd_reset_connection()
        conn.cmd_change_user("app", "app", "play")
        speak(conn)
    elif client == "sqlalchemy":
        import pymysql  # noqa: F401
        import sqlalchemy as sa

        url = f"mysql+pymysql://app:app@127.0.0.1:{port}/play"
        engine = sa.create_engine(url, pool_size=4, pool_pre_ping=True)
        tables = sa.MetaData()
        things = sa.Table("sa", tables, sa.Column("id", sa.Integer, primary_key=True), sa.Column("s", sa.String(50)), sa.Column("j", sa.JSON))
        tables.drop_all(engine)
        tables.create_all(engine)
        with engine.begin() as conn:
            conn.execute(things.insert(), [{"s": str(n), "j": {"n": [n]}} for n in range(50)])
        with engine.connect() as conn:
            nested = conn.begin_nested()
            conn.execute(things.delete())
            nested.rollback()
            print(conn.execute(sa.select(things).where(things.c.id > 3).order_by(things.c.id)).all())
            print(conn.execution_options(stream_results=True).execute(sa.select(sa.func.count()).select_from(things)).all())
        print(sorted(column["name"] for column in sa.inspect(engine).get_columns("sa")))
    elif client == "django":
        import pymysql

        pymysql.version_info = (2, 2, 7, "final", 0)
        pymysql.install_as_MySQLdb()
        import django
        from django.conf import settings
        from django.db import connection, models, transaction

        database = {"ENGINE": "django.db.backends.mysql", "NAME": "play", "USER": "app", "PASSWORD": "app", "HOST": "127.0.0.1", "PORT": port}
        settings.configure(DATABASES={"default": database}, DEFAULT_AUTO_FIELD="django.db.models.AutoField")
        django.setup()

        class Thing(models.Model):
            name = models.CharField(max_length=50, unique=True)
            made = models.DateTimeField(null=True)

            class Meta:
                app_label = "play"

        if "play_thing" in connection.introspection.table_names():
            with connection.schema_editor() as editor:
                editor.delete_model(Thing)
        with connection.schema_editor() as editor:
            editor.create_model(Thing)
        Thing.objects.bulk_create(Thing(name=f"n{n}") for n in range(30))
        try:
            with transaction.atomic():
                Thing.objects.create(name="n1")
        except Exception as error:  # noqa: BLE001
            print(type(error).__name__, error)
        print(list(Thing.objects.filter(name__startswith="n1").order_by("id").values_list()))
        print(connection.introspection.table_names())
    else:
        sys.exit(f"unknown client {client}")
except ImportError as error:
    print(error)
    sys.exit(3)
