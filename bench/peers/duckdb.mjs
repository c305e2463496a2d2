// Serves statements to DuckDB, one request a line, one answer a line.
import { DuckDBInstance } from '@duckdb/node-api';
import { createInterface } from 'node:readline';

const instance = await DuckDBInstance.create(process.argv[2], { threads: '2', memory_limit: '12GB' });
const db = await instance.connect();
for await (const line of createInterface({ input: process.stdin })) {
  const answer = { rows: null, ms: 0, error: '' };
  const begin = performance.now();
  try {
    const reader = await db.runAndReadAll(JSON.parse(line).text);
    answer.rows = reader.getRowsJson();
  } catch (e) {
    answer.error = String(e.message ?? e);
  }
  answer.ms = performance.now() - begin;
  console.log(JSON.stringify(answer));
}
