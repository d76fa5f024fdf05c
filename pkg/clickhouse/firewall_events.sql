-- The table of the dataset firewall_events for the ClickHouse sink of logpushd, with all documented
-- fields.
--
-- Remove the columns that your Logpush job does not send. Objects and arrays without a documented
-- type are a String, which takes them as JSON.
--
-- The job must send Datetime, and all times in RFC 3339 (`timestamp_format`:
-- rfc3339ns, rfc3339ms or rfc3339).
CREATE TABLE logpush_firewall_events
(
    Datetime DateTime64(9, 'UTC') CODEC(Delta, ZSTD),
    RayID String,
    OriginatorRayID String,

    -- The rule. One request results in a record for each rule that matches.
    Action LowCardinality(String),
    Kind LowCardinality(String),
    Source LowCardinality(String),
    RuleID LowCardinality(String),
    Ref LowCardinality(String),
    Description LowCardinality(String),
    MatchIndex Int64,
    Metadata String,

    -- The client and its request.
    ClientIP String,
    ClientIPClass LowCardinality(String),
    ClientASN UInt32,
    ClientASNDescription LowCardinality(String),
    ClientCountry LowCardinality(String),
    ClientRequestProtocol LowCardinality(String),
    ClientRequestScheme LowCardinality(String),
    ClientRequestMethod LowCardinality(String),
    ClientRequestHost LowCardinality(String),
    ClientRequestPath String,
    ClientRequestQuery String,
    ClientRequestUserAgent String,
    ClientRefererScheme LowCardinality(String),
    ClientRefererHost String,
    ClientRefererPath String,
    ClientRefererQuery String,

    -- The response.
    EdgeColoCode LowCardinality(String),
    EdgeResponseStatus UInt16,
    OriginResponseStatus UInt16,

    -- Other security products.
    ContentScanObjResults Array(LowCardinality(String)),
    ContentScanObjSizes Array(Int64),
    ContentScanObjTypes Array(LowCardinality(String)),
    LeakedCredentialCheckResult LowCardinality(String),
    FraudUserID String,
    WAFRequestSignatureCategories String,
    WAFRequestSignatureRefs String,
    AISecurityInjectionScore Int64,
    AISecurityTokenCount Int64,
    AISecurityPIICategories Array(LowCardinality(String)),
    AISecurityUnsafeTopicCategories Array(LowCardinality(String)),
    AISecurityCustomTopicCategories String,
    FirewallForAIInjectionScore Int64,
    FirewallForAITokenCount Int64,
    FirewallForAIPIICategories Array(LowCardinality(String)),
    FirewallForAIUnsafeTopicCategories Array(LowCardinality(String)),

    -- A time in another format than RFC 3339 is refused, not stored as a wrong one.
    CONSTRAINT time_is_plausible
        CHECK Datetime > toDateTime64('2015-01-01 00:00:00', 9, 'UTC')
)
ENGINE = MergeTree
PARTITION BY toDate(Datetime)
ORDER BY (ClientRequestHost, Datetime)
-- Uncomment to delete records after 90 days.
-- TTL toDateTime(Datetime) + INTERVAL 90 DAY
SETTINGS
    -- Recognizes an insert that logpushd repeats among the last 10,000, so that no record is stored
    -- twice.
    non_replicated_deduplication_window = 10000,
    -- An insert is on disk before ClickHouse answers.
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    ttl_only_drop_parts = 1;
