-- Who may log in, the tokens by which requests are told whose they are, and from where and how what the audit log
-- tells was done. Only what SQLite and MariaDB both understand.

CREATE TABLE users (
    user_name VARCHAR(64) NOT NULL,
    role VARCHAR(16) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    disabled BIGINT NOT NULL DEFAULT 0,
    created_at VARCHAR(30) NOT NULL,
    updated_at VARCHAR(30) NOT NULL,
    last_login_at VARCHAR(30),
    PRIMARY KEY (user_name)
);

-- token_hash is the SHA-256 of a token; the token itself is nowhere.
CREATE TABLE api_tokens (
    id VARCHAR(36) NOT NULL,
    token_hash VARCHAR(64) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    label VARCHAR(128) NOT NULL,
    role VARCHAR(16) NOT NULL,
    vm_names LONGTEXT,
    user_name VARCHAR(64),
    created_by VARCHAR(255) NOT NULL,
    created_at VARCHAR(30) NOT NULL,
    expires_at VARCHAR(30) NOT NULL,
    last_used_at VARCHAR(30),
    revoked_at VARCHAR(30),
    PRIMARY KEY (id),
    UNIQUE (token_hash)
);
CREATE INDEX idx_api_tokens_user_name ON api_tokens (user_name);
CREATE INDEX idx_api_tokens_created_at ON api_tokens (created_at);

ALTER TABLE audit_log ADD COLUMN origin VARCHAR(64);
ALTER TABLE audit_log ADD COLUMN outcome VARCHAR(64);
ALTER TABLE audit_log ADD COLUMN request_id VARCHAR(64);
CREATE INDEX idx_audit_actor ON audit_log (actor, logged_at);
CREATE INDEX idx_audit_action ON audit_log (action, logged_at);
CREATE INDEX idx_audit_object ON audit_log (object, logged_at);
