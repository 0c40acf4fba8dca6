CREATE DATABASE shop DEFAULT CHARACTER SET utf8mb4;
CREATE TABLE shop.customers (
  id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email         VARCHAR(120) NOT NULL,
  name          VARCHAR(80) NOT NULL,
  city          VARCHAR(60) CHARACTER SET latin1 NOT NULL,
  tier          ENUM('basic', 'silver', 'gold') NOT NULL DEFAULT 'basic',
  consents      SET('mail', 'sms', 'phone') NOT NULL DEFAULT '',
  active        BIT(1) NOT NULL DEFAULT b'1',
  credit        DECIMAL(12,2) NOT NULL DEFAULT 0,
  born          DATE NULL,
  profile       JSON NULL,
  password_hash BINARY(32) NOT NULL,
  created       TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  UNIQUE KEY email (email),
  KEY city (city)
);
CREATE TABLE shop.products (
  sku           VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  title         VARCHAR(120) NOT NULL,
  description   TEXT CHARACTER SET latin1 NULL,
  price         DECIMAL(10,2) NOT NULL,
  price_gross   DECIMAL(12,4) GENERATED ALWAYS AS (price * 1.19) STORED,
  title_upper   VARCHAR(120) GENERATED ALWAYS AS (UPPER(title)) VIRTUAL,
  weight        FLOAT NULL,
  rating        DOUBLE NULL,
  stock         INT NOT NULL DEFAULT 0,
  introduced    YEAR NULL,
  attributes    JSON NULL,
  thumbnail     BLOB NULL,
  updated       TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)
);
CREATE TABLE shop.orders (
  id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer_id   BIGINT UNSIGNED NOT NULL,
  state         ENUM('placed', 'paid', 'shipped', 'returned') NOT NULL DEFAULT 'placed',
  placed        DATETIME(6) NOT NULL,
  handling      TIME(3) NULL,
  total         DECIMAL(12,2) NOT NULL DEFAULT 0,
  note          TEXT NULL,
  KEY customer (customer_id),
  CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
);
CREATE TABLE shop.order_lines (
  order_id      BIGINT UNSIGNED NOT NULL,
  line          SMALLINT UNSIGNED NOT NULL,
  sku           VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  quantity      SMALLINT NOT NULL,
  unit_price    DECIMAL(10,2) NOT NULL,
  PRIMARY KEY (order_id, line),
  KEY sku (sku),
  CONSTRAINT lines_order FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
  CONSTRAINT lines_product FOREIGN KEY (sku) REFERENCES products (sku)
);
CREATE TABLE shop.payments (
  id            BINARY(16) NOT NULL PRIMARY KEY,
  order_id      BIGINT UNSIGNED NULL,
  amount        DECIMAL(14,4) NOT NULL,
  method        VARCHAR(20) CHARACTER SET latin1 NOT NULL,
  receipt       VARBINARY(200) NULL,
  paid          TIMESTAMP(6) NULL,
  KEY order_id (order_id),
  CONSTRAINT payments_order FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE SET NULL
);
CREATE TABLE shop.events (
  happened      DATETIME(6) NOT NULL,
  kind          VARCHAR(30) NOT NULL,
  payload       JSON NULL,
  KEY happened (happened)
);
CREATE TABLE shop.probes (
  id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  sent          DATETIME(6) NOT NULL
);
CREATE VIEW shop.open_orders AS SELECT o.id, c.name, o.total FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id WHERE o.state = 'placed';
