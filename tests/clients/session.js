// One session of npm's mysql2, printed: node session.js PORT. Exits with 3 where it is not installed.
let mysql;
try {
  mysql = require('mysql2/promise');
} catch (error) {
  console.log(error.code);
  process.exit(3);
}

async function main() {
  const conn = await mysql.createConnection({
    host: '127.0.0.1', port: Number(process.argv[2]), user: 'app', password: 'app', database: 'play', multipleStatements: true,
  });
  await conn.query('DROP TABLE IF EXISTS js; CREATE TABLE js (id INT AUTO_INCREMENT PRIMARY KEY, s TEXT, b LONGBLOB)');
  const [made] = await conn.execute('INSERT INTO js (s, b) VALUES (?, ?)', ['é', Buffer.alloc(17000000, 'x')]);
  console.log(made.affectedRows, made.insertId);
  console.log((await conn.query('SELECT id, s, LENGTH(b) AS n FROM js; SELECT 2 AS two'))[0]);
  console.log((await conn.execute('SELECT id, s FROM js WHERE id > ?', [0]))[0]);
  console.log(await conn.query('SELECT nothing FROM nowhere').catch((error) => `${error.code} ${error.message}`));
  await conn.changeUser({ user: 'app', password: 'app', database: 'play' });
  await conn.ping();
  console.log((await conn.query('SELECT CURRENT_USER() AS who, DATABASE() AS d'))[0]);
  await conn.end();
}

main().catch((error) => {
  console.log(error);
  process.exit(1);
});
