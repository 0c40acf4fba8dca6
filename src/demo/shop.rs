//! The demo's data: a shop with every ordinary column type, foreign keys, two character sets, and one table without a key.

use anyhow::Result;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// Rows made by one statement, so that no transaction is larger than a few megabytes.
const BATCH: u64 = 10_000;

/// How many rows each table gets, of a total.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) customers: u64,
    pub(crate) products: u64,
    pub(crate) orders: u64,
    pub(crate) payments: u64,
    pub(crate) events: u64,
}

impl Sizes {
    /// Shares out about `total` rows; each order has two lines.
    pub(crate) fn of(total: u64) -> Self {
        let share = |percent: u64| (total * percent / 100).max(10);
        Self {
            customers: share(10),
            products: share(2),
            orders: share(23),
            payments: share(15),
            events: share(5),
        }
    }

    /// Rows in all tables.
    pub(crate) fn total(&self) -> u64 {
        self.customers + self.products + self.orders * 3 + self.payments + self.events
    }
}

/// Creates the shop's tables on the source.
pub(crate) async fn create(conn: &mut Conn) -> Result<()> {
    for statement in include_str!("shop.sql")
        .split(";\n")
        .filter(|text| !text.trim().is_empty())
    {
        conn.query_drop(statement).await?;
    }
    Ok(())
}

/// Fills the tables; the same rows each time, up to the times in them.
pub(crate) async fn fill(conn: &mut Conn, sizes: Sizes) -> Result<()> {
    conn.query_drop("SET SESSION cte_max_recursion_depth = 1000000, time_zone = '+00:00'")
        .await?;
    conn.query_drop("SET NAMES utf8mb4").await?;
    conn.query_drop("USE shop").await?;
    let parts: [(&str, u64); 6] = [
        (CUSTOMERS, sizes.customers),
        (PRODUCTS, sizes.products),
        (ORDERS, sizes.orders),
        (ORDER_LINES, sizes.orders),
        (PAYMENTS, sizes.payments),
        (EVENTS, sizes.events),
    ];
    for (statement, rows) in parts {
        let mut from = 1;
        while from <= rows {
            let through = (from + BATCH - 1).min(rows);
            let sql = statement
                .replace("{numbers}", &format!("WITH RECURSIVE s (n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM s WHERE n < {through})"))
                .replace("{customers}", &sizes.customers.to_string())
                .replace("{products}", &sizes.products.to_string())
                .replace("{orders}", &sizes.orders.to_string());
            conn.query_drop(sql).await?;
            from = through + 1;
        }
    }
    Ok(())
}

const CUSTOMERS: &str = "INSERT INTO shop.customers
  (id, email, name, city, tier, consents, active, credit, born, profile, password_hash, created) {numbers}
  SELECT n, CONCAT('user', n, '@example.com'), CONCAT(ELT(1 + n % 5, 'Zoë', 'Jürgen', '小林', 'Олег', 'Ana 🙂'), ' ', n),
    ELT(1 + n % 4, 'Köln', 'Málaga', 'Århus', 'Lyon'), 1 + n % 3, n % 8, n % 2, n % 100000 / 7 - 500,
    IF(n % 9 = 0, NULL, DATE_ADD('1950-01-01', INTERVAL n % 20000 DAY)),
    IF(n % 7 = 0, NULL, JSON_OBJECT('n', n, 'vip', n % 10 = 0, 'tags', JSON_ARRAY('a', 'ü', n / 3), 'deep', JSON_OBJECT('x', NULL))),
    UNHEX(SHA2(n, 256)), '2024-01-01 00:00:00.123456' + INTERVAL n SECOND FROM s";

const PRODUCTS: &str = "INSERT INTO shop.products
  (sku, title, description, price, weight, rating, stock, introduced, attributes, thumbnail) {numbers}
  SELECT CONCAT('SKU-', LPAD(n, 8, '0')), CONCAT('Product ', n, ' ✓'), REPEAT(CONCAT('größe ', n, ' '), n % 12), n % 900 + 0.99,
    n / 17, n / 13e3, 100000, 1990 + n % 40, JSON_OBJECT('colour', ELT(1 + n % 3, 'rot', 'grün', 'blau'), 'sizes', JSON_ARRAY(n % 5, n % 7)),
    UNHEX(REPEAT(SHA2(n, 256), n % 9)) FROM s";

const ORDERS: &str = "INSERT INTO shop.orders (id, customer_id, state, placed, handling, total, note) {numbers}
  SELECT n, 1 + n % {customers}, 1 + n % 4, '2025-03-30 01:59:59.999999' + INTERVAL n SECOND,
    SEC_TO_TIME(n % 90000 - 40000 + n % 1000 / 1000), n % 5000 + 0.5, IF(n % 3 = 0, NULL, CONCAT('note ', n, ' “quoted” \\\\ it''s'))
  FROM s";

const ORDER_LINES: &str = "INSERT INTO shop.order_lines (order_id, line, sku, quantity, unit_price) {numbers}
  SELECT n, l.line, CONCAT('SKU-', LPAD(1 + (n * 7 + l.line) % {products}, 8, '0')), 1 + n % 9, n % 900 + 0.99
  FROM s JOIN (SELECT 1 AS line UNION ALL SELECT 2) l";

const PAYMENTS: &str = "INSERT INTO shop.payments (id, order_id, amount, method, receipt, paid) {numbers}
  SELECT UNHEX(LEFT(SHA2(n, 256), 32)), 1 + n % {orders}, n % 5000 + 0.1234, ELT(1 + n % 3, 'card', 'transfer', 'café'), UNHEX(SHA2(n, 512)),
    IF(n % 11 = 0, NULL, '2025-06-01 12:00:00.5' + INTERVAL n SECOND) FROM s";

const EVENTS: &str = "INSERT INTO shop.events (happened, kind, payload) {numbers}
  SELECT '2025-01-01' + INTERVAL n DIV 2 SECOND, ELT(1 + n % 3, 'view', 'search', 'login'), JSON_OBJECT('who', n % 1000, 'ms', n / 8) FROM s";
