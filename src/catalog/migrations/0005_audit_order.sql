-- The order of the audit log in one index: a page far down is found without a look at the entries before it.
-- Only what SQLite and MariaDB both understand: see docs/database.md.

CREATE INDEX idx_audit_time ON audit_log (logged_at, id);
DROP INDEX idx_audit_logged_at;
