-- The table of the dataset http_requests for the ClickHouse sink of logpushd, with all documented
-- fields.
--
-- Remove the columns that your Logpush job does not send. Objects and arrays without a documented
-- type are a String, which takes them as JSON.
--
-- The job must send EdgeStartTimestamp, and all times in RFC 3339 (`timestamp_format`:
-- rfc3339ns, rfc3339ms or rfc3339).
CREATE TABLE logpush_http_requests
(
    EdgeStartTimestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD),
    EdgeEndTimestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD),
    RayID String,
    ParentRayID String,
    ZoneName LowCardinality(String),
    ZoneID Int64,

    -- The client and its request.
    ClientIP String,
    ClientIPClass LowCardinality(String),
    ClientASN UInt32,
    ClientCountry LowCardinality(String),
    ClientRegionCode LowCardinality(String),
    ClientCity LowCardinality(String),
    ClientLatitude String,
    ClientLongitude String,
    ClientDeviceType LowCardinality(String),
    ClientSrcPort UInt16,
    ClientTCPRTTMs Int64,
    ClientSSLProtocol LowCardinality(String),
    ClientSSLCipher LowCardinality(String),
    ClientTLSKeyExchangeGroup LowCardinality(String),
    ClientMTLSAuthStatus LowCardinality(String),
    ClientMTLSAuthCertFingerprint String,
    ClientRequestProtocol LowCardinality(String),
    ClientRequestScheme LowCardinality(String),
    ClientRequestMethod LowCardinality(String),
    ClientRequestHost LowCardinality(String),
    ClientRequestPath String,
    ClientRequestURI String,
    ClientRequestReferer String,
    ClientRequestUserAgent String,
    ClientRequestSource LowCardinality(String),
    ClientRequestBytes Int64,
    ClientXRequestedWith LowCardinality(String),
    RequestHeaders Map(LowCardinality(String), String),
    ResponseHeaders Map(LowCardinality(String), String),
    Cookies Map(LowCardinality(String), String),

    -- The edge and its response.
    EdgeColoCode LowCardinality(String),
    EdgeColoID UInt32,
    EdgeServerIP String,
    EdgeRequestHost LowCardinality(String),
    EdgeResponseStatus UInt16,
    EdgeResponseBytes Int64,
    EdgeResponseBodyBytes Int64,
    EdgeResponseCompressionRatio Float64,
    EdgeResponseContentType LowCardinality(String),
    EdgeTimeToFirstByteMs Int64,
    EdgePathingOp LowCardinality(String),
    EdgePathingSrc LowCardinality(String),
    EdgePathingStatus LowCardinality(String),
    EdgeCFConnectingO2O Bool,
    SmartRouteColoID UInt32,
    UpperTierColoID UInt32,
    Subrequests String,

    -- The cache.
    CacheCacheStatus LowCardinality(String),
    CacheResponseStatus UInt16,
    CacheResponseBytes Int64,
    CacheTieredFill Bool,
    CacheReserveUsed Bool,
    CacheLockWaitedMs Int64,

    -- The origin.
    OriginIP String,
    OriginResponseStatus UInt16,
    OriginResponseBytes Int64,
    OriginResponseTime Int64,
    OriginResponseDurationMs Int64,
    OriginResponseHeaderReceiveDurationMs Int64,
    OriginRequestHeaderSendDurationMs Int64,
    OriginDNSResponseTimeMs Int64,
    OriginTCPHandshakeDurationMs Int64,
    OriginTLSHandshakeDurationMs Int64,
    OriginSSLProtocol LowCardinality(String),
    OriginResponseHTTPExpires String,
    OriginResponseHTTPLastModified String,

    -- Bots and fraud.
    BotScore UInt8,
    BotScoreSrc LowCardinality(String),
    BotTags Array(LowCardinality(String)),
    BotDetectionIDs Array(Int64),
    BotDetectionTags Array(LowCardinality(String)),
    VerifiedBotCategory LowCardinality(String),
    JSDetectionPassed LowCardinality(String),
    JA3Hash String,
    JA4 String,
    JA4Signals Map(LowCardinality(String), Float64),
    FraudAttack LowCardinality(String),
    FraudDetectionIDs Array(Int64),
    FraudDetectionTags Array(LowCardinality(String)),
    FraudEmailRisk LowCardinality(String),
    FraudUserID String,
    PayPerCrawlStatus LowCardinality(String),

    -- Rules and other security products.
    SecurityAction LowCardinality(String),
    SecurityRuleID LowCardinality(String),
    SecurityRuleDescription LowCardinality(String),
    SecurityActions Array(LowCardinality(String)),
    SecurityRuleIDs Array(LowCardinality(String)),
    SecuritySources Array(LowCardinality(String)),
    MatchedRules String,
    WAFAttackScore UInt8,
    WAFRCEAttackScore UInt8,
    WAFSQLiAttackScore UInt8,
    WAFXSSAttackScore UInt8,
    WAFRequestSignatureCategories String,
    WAFRequestSignatureRefs String,
    WAFFlags LowCardinality(String),
    WAFMatchedVar String,
    ContentScanObjResults Array(LowCardinality(String)),
    ContentScanObjSizes Array(Int64),
    ContentScanObjTypes Array(LowCardinality(String)),
    LeakedCredentialCheckResult LowCardinality(String),
    WebAssetsLabelsManaged Array(LowCardinality(String)),
    WebAssetsOperationID String,
    AISecurityInjectionScore Int64,
    AISecurityTokenCount Int64,
    AISecurityPIICategories Array(LowCardinality(String)),
    AISecurityUnsafeTopicCategories Array(LowCardinality(String)),
    AISecurityCustomTopicCategories String,
    FirewallForAIInjectionScore Int64,
    FirewallForAITokenCount Int64,
    FirewallForAIPIICategories Array(LowCardinality(String)),
    FirewallForAIUnsafeTopicCategories Array(LowCardinality(String)),

    -- Workers.
    WorkerScriptName LowCardinality(String),
    WorkerStatus LowCardinality(String),
    WorkerSubrequest Bool,
    WorkerSubrequestCount Int64,
    WorkerCPUTime Int64,
    WorkerWallTimeUs Int64,

    -- Deprecated: jobs that were created before 2023 may send these.
    WAFAction LowCardinality(String),
    WAFProfile LowCardinality(String),
    WAFRuleID LowCardinality(String),
    WAFRuleMessage String,
    FirewallMatchesActions String,
    FirewallMatchesRuleIDs String,
    FirewallMatchesSources String,
    SecurityLevel LowCardinality(String),
    EdgeRateLimitAction LowCardinality(String),
    EdgeRateLimitID Int64,

    -- A time in another format than RFC 3339 is refused, not stored as a wrong one.
    CONSTRAINT time_is_plausible
        CHECK EdgeStartTimestamp > toDateTime64('2015-01-01 00:00:00', 9, 'UTC')
)
ENGINE = MergeTree
PARTITION BY toDate(EdgeStartTimestamp)
ORDER BY (ClientRequestHost, EdgeStartTimestamp)
-- Uncomment to delete records after 90 days.
-- TTL toDateTime(EdgeStartTimestamp) + INTERVAL 90 DAY
SETTINGS
    -- Recognizes an insert that logpushd repeats among the last 10,000, so that no record is stored
    -- twice.
    non_replicated_deduplication_window = 10000,
    -- An insert is on disk before ClickHouse answers.
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    ttl_only_drop_parts = 1;
