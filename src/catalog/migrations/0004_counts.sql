-- What keeps lists quick however many backups there are: how many there are is counted as they come and go (by day, so
-- that a late page is found without walking to it), and every list has an index that is in its order.
-- Only what SQLite and MariaDB both understand: see docs/database.md.

-- day is empty for all days together; backup_type and repository_id are empty for jobs that are no backups.
CREATE TABLE list_counts (
    day VARCHAR(10) NOT NULL,
    job_type VARCHAR(16) NOT NULL,
    status VARCHAR(16) NOT NULL,
    backup_type VARCHAR(16) NOT NULL,
    repository_id VARCHAR(64) NOT NULL,
    entries BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    PRIMARY KEY (day, job_type, status, backup_type, repository_id)
);

-- any_value is 1 for a key with whatever value; value_start is empty then.
CREATE TABLE tag_counts (
    tag_key VARCHAR(255) NOT NULL,
    any_value BIGINT NOT NULL,
    value_start VARCHAR(128) NOT NULL,
    status VARCHAR(16) NOT NULL,
    backup_type VARCHAR(16) NOT NULL,
    repository_id VARCHAR(64) NOT NULL,
    entries BIGINT NOT NULL,
    PRIMARY KEY (tag_key, any_value, value_start, status, backup_type, repository_id)
);

-- A tag knows when its backup was made, and enough of its value for a key.
ALTER TABLE backup_tags ADD COLUMN value_start VARCHAR(128) NOT NULL DEFAULT '';
ALTER TABLE backup_tags ADD COLUMN created_at VARCHAR(30) NOT NULL DEFAULT '';
UPDATE backup_tags SET value_start = SUBSTR(tag_value, 1, 128), created_at = COALESCE((SELECT j.created_at FROM backup_jobs j WHERE j.id = backup_tags.backup_job_id), '');
CREATE INDEX idx_tag_key_time ON backup_tags (tag_key, created_at, backup_job_id);
CREATE INDEX idx_tag_value_time ON backup_tags (tag_key, value_start, created_at, backup_job_id);
DROP INDEX idx_tag_key;

CREATE INDEX idx_listing ON backup_jobs (status, backup_type, repository_id, created_at, id);
DROP INDEX idx_usage;
CREATE INDEX idx_jobs_listing ON jobs (job_type, status, created_at, id);
CREATE INDEX idx_jobs_vm_name ON jobs (vm_name, created_at);
CREATE INDEX idx_vm_contexts_name ON vm_contexts (vm_name, context_id);

DELETE FROM list_counts;
INSERT INTO list_counts (day, job_type, status, backup_type, repository_id, entries, size_bytes) SELECT '', 'backup', status, backup_type, repository_id, COUNT(*), CAST(SUM(size_bytes) AS SIGNED) FROM backup_jobs GROUP BY status, backup_type, repository_id;
INSERT INTO list_counts (day, job_type, status, backup_type, repository_id, entries, size_bytes) SELECT SUBSTR(created_at, 1, 10), 'backup', status, backup_type, repository_id, COUNT(*), CAST(SUM(size_bytes) AS SIGNED) FROM backup_jobs GROUP BY SUBSTR(created_at, 1, 10), status, backup_type, repository_id;
INSERT INTO list_counts (day, job_type, status, backup_type, repository_id, entries, size_bytes) SELECT '', job_type, status, '', '', COUNT(*), 0 FROM jobs GROUP BY job_type, status;
INSERT INTO list_counts (day, job_type, status, backup_type, repository_id, entries, size_bytes) SELECT SUBSTR(created_at, 1, 10), job_type, status, '', '', COUNT(*), 0 FROM jobs GROUP BY SUBSTR(created_at, 1, 10), job_type, status;
DELETE FROM tag_counts;
INSERT INTO tag_counts (tag_key, any_value, value_start, status, backup_type, repository_id, entries) SELECT t.tag_key, 1, '', j.status, j.backup_type, j.repository_id, COUNT(*) FROM backup_tags t JOIN backup_jobs j ON j.id = t.backup_job_id GROUP BY t.tag_key, j.status, j.backup_type, j.repository_id;
INSERT INTO tag_counts (tag_key, any_value, value_start, status, backup_type, repository_id, entries) SELECT t.tag_key, 0, t.value_start, j.status, j.backup_type, j.repository_id, COUNT(*) FROM backup_tags t JOIN backup_jobs j ON j.id = t.backup_job_id GROUP BY t.tag_key, t.value_start, j.status, j.backup_type, j.repository_id;
