// One session of a JDBC driver, MySQL's or MariaDB's, printed: java -cp DRIVER.jar Session.java PORT.
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;

class Session {
    public static void main(String[] arguments) throws SQLException {
        var url = "jdbc:mysql://127.0.0.1:" + arguments[0] + "/play?user=app&password=app&useSSL=false&allowPublicKeyRetrieval=true"
                + "&allowMultiQueries=true&useServerPrepStmts=true&rewriteBatchedStatements=true";
        try (var conn = DriverManager.getConnection(url); var statement = conn.createStatement()) {
            statement.execute("DROP TABLE IF EXISTS java;"
                    + "CREATE TABLE java (id INT AUTO_INCREMENT PRIMARY KEY, s TEXT, b LONGBLOB, t DATETIME(3))");
            statement.execute("DROP PROCEDURE IF EXISTS plus;"
                    + "CREATE PROCEDURE plus(IN a INT, OUT b INT) BEGIN SELECT a; SET b = a + 1; END");
            batches(conn);
            show(statement, "SELECT id, s, LENGTH(b), t FROM java WHERE id < 4 OR b IS NOT NULL; SELECT 2 AS two, NULL AS nothing");
            for (var wrong : new String[] {"SELECT nothing FROM nowhere", "SELEC", "INSERT INTO java (id) VALUES (1)"}) {
                try {
                    statement.execute(wrong);
                } catch (SQLException error) {
                    System.out.println(error.getErrorCode() + " " + error.getSQLState());
                }
            }
            try (var call = conn.prepareCall("{CALL plus(?, ?)}")) {
                call.setInt(1, 5);
                call.registerOutParameter(2, Types.INTEGER);
                call.execute();
                System.out.println(call.getInt(2));
            }
            try (var streamed = conn.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY)) {
                streamed.setFetchSize(Integer.MIN_VALUE);
                show(streamed, "SELECT COUNT(*), MAX(s) FROM java");
            }
            System.out.println(conn.isValid(5) + " " + conn.getCatalog() + " " + conn.getMetaData().getDatabaseProductVersion());
            var columns = conn.getMetaData().getColumns("play", null, "java", null);
            while (columns.next()) {
                System.out.println(columns.getString("COLUMN_NAME") + " " + columns.getString("TYPE_NAME"));
            }
        }
    }

    private static void batches(Connection conn) throws SQLException {
        conn.setAutoCommit(false);
        conn.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        try (var insert = conn.prepareStatement("INSERT INTO java (s, b, t) VALUES (?, ?, ?)", Statement.RETURN_GENERATED_KEYS)) {
            for (int n = 0; n < 40; n++) {
                insert.setString(1, "é".repeat(n));
                insert.setBytes(2, n == 39 ? new byte[17_000_000] : null);
                insert.setString(3, "2026-11-23 01:02:03.004");
                insert.addBatch();
            }
            System.out.println(insert.executeBatch().length);
            conn.commit();
            insert.setString(1, "undone");
            insert.setBytes(2, null);
            insert.setString(3, null);
            System.out.println(insert.executeUpdate());
            conn.rollback();
        }
        conn.setAutoCommit(true);
    }

    private static void show(Statement statement, String sql) throws SQLException {
        for (var rows = statement.execute(sql); rows; rows = statement.getMoreResults()) {
            var result = statement.getResultSet();
            int width = result.getMetaData().getColumnCount();
            while (result.next()) {
                for (int at = 1; at <= width; at++) {
                    System.out.print(result.getMetaData().getColumnLabel(at) + "=" + result.getString(at) + " ");
                }
                System.out.println();
            }
        }
    }
}
