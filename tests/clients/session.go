// One session of Go's go-sql-driver, printed: go run session.go PORT.
package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"

	_ "github.com/go-sql-driver/mysql"
)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// show prints every row of every result.
func show(rows *sql.Rows, err error) {
	must(err)
	defer rows.Close()
	for {
		columns, err := rows.Columns()
		must(err)
		fmt.Println(columns)
		values, places := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for at := range values {
			places[at] = &values[at]
		}
		for rows.Next() {
			must(rows.Scan(places...))
			fmt.Println(values)
		}
		if !rows.NextResultSet() {
			break
		}
	}
	must(rows.Err())
}

func main() {
	db, err := sql.Open("mysql", "app:app@tcp(127.0.0.1:"+os.Args[1]+")/play?multiStatements=true&maxAllowedPacket=0")
	must(err)
	ctx := context.Background()
	conn, err := db.Conn(ctx)
	must(err)
	_, err = conn.ExecContext(ctx, "DROP TABLE IF EXISTS go;"+
		"CREATE TABLE go (id INT AUTO_INCREMENT PRIMARY KEY, s TEXT, b LONGBLOB, t DATETIME(3))")
	must(err)
	made, err := conn.ExecContext(ctx, "INSERT INTO go (s, b, t) VALUES (?, ?, ?)",
		"é", bytes.Repeat([]byte("x"), 17000000), "2026-11-23 01:02:03.004")
	must(err)
	rows, _ := made.RowsAffected()
	id, _ := made.LastInsertId()
	fmt.Println(rows, id)
	show(conn.QueryContext(ctx, "SELECT id, s, LENGTH(b), t FROM go; SELECT 2 AS two, NULL AS nothing; CALL p()"))
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
	must(err)
	statement, err := tx.Prepare("INSERT INTO go (s) VALUES (?)")
	must(err)
	for n := 0; n < 20; n++ {
		_, err = statement.Exec(fmt.Sprint("n", n))
		must(err)
	}
	must(statement.Close())
	show(tx.Query("SELECT COUNT(*), MAX(s) FROM go WHERE id > ?", 0))
	must(tx.Rollback())
	for _, wrong := range []string{"SELECT nothing FROM nowhere", "SELEC", "INSERT INTO go (id) VALUES (1)"} {
		_, err = conn.ExecContext(ctx, wrong)
		fmt.Println(err)
	}
	must(conn.PingContext(ctx))
	show(conn.QueryContext(ctx, "SELECT CURRENT_USER(), DATABASE(), COUNT(*) FROM go"))
}
