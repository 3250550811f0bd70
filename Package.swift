// swift-tools-version: 6.2
import PackageDescription

// Floors, lowest first. A target imports targets of lower floors only;
// `ManifestTests` reads this table and fails when an edge points up.
//
//   0  C*                                          module maps of system libraries
//   1  Base                                        clock, digest, file system, errors
//   2  Model SQLite Archive HTTPFetch PlainHTTP    values and thin owners
//   3  CLISupport ServiceSupport Trust OCI ImageDelta DockerEngine WireGuard Compose HubClient
//   4  TrustHTTP ReleaseBundle ImageDeltaCreate HubProtocol TransparencyLog
//   5  AgentCore Operator HubCore HubHTTP
//   6  AgentHub HubStore HubTokens
//   7  HubAudit HubEnrolment HubReleases HubReports
//   8  HubDevices HubTunnel
//   9  HubManagement
//  10  HubServer
//  11  holdfast holdfast-agent holdfast-tuf holdfast-hub   executables

let swiftSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

// MARK: - External packages

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let asyncHTTPClient: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let nioConcurrencyHelpers: Target.Dependency = .product(name: "NIOConcurrencyHelpers", package: "swift-nio")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")

// MARK: - Targets

func library(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

/// A module of the optional hub.
func hubLibrary(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, path: "hub/Sources/\(name)", swiftSettings: swiftSettings)
}

/// Release links fold identical code, pack relocations and export nothing: a static agent gets 15 % smaller,
/// and as much less of it is resident (tools/bench/agent).
let releaseLink: LinkerSetting = .unsafeFlags(
    [
        "-use-ld=lld", "-Xlinker", "--icf=safe", "-Xlinker", "-z", "-Xlinker", "pack-relative-relocs",
        "-Xlinker", "--exclude-libs=ALL", "-Xlinker", "--no-export-dynamic",
    ], .when(configuration: .release))

func executable(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name, dependencies: dependencies, swiftSettings: swiftSettings, linkerSettings: [releaseLink])
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
    .testTarget(
        name: name, dependencies: dependencies + ["TestSupport"], resources: resources,
        swiftSettings: swiftSettings)
}

func system(_ name: String, pkgConfig: String?, apt: String) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

let package = Package(
    name: "holdfast",
    products: [
        .executable(name: "holdfast", targets: ["holdfast"]),
        .executable(name: "holdfast-agent", targets: ["holdfast-agent"]),
        .executable(name: "holdfast-hub", targets: ["holdfast-hub"]),
        .executable(name: "holdfast-tuf", targets: ["holdfast-tuf"]),
        .library(name: "Archive", targets: ["Archive"]),
        .library(name: "Base", targets: ["Base"]),
        .library(name: "ImageDelta", targets: ["ImageDelta"]),
        .library(name: "Model", targets: ["Model"]),
        .library(name: "OCI", targets: ["OCI"]),
        .library(name: "Trust", targets: ["Trust"]),
        .library(name: "WireGuard", targets: ["WireGuard"]),
        // What tools/bench/hub is built from.
        .library(
            name: "HubBench",
            targets: [
                "Base", "Trust", "WireGuard", "HubProtocol", "HubHTTP", "HubCore", "HubStore", "HubTokens",
                "HubEnrolment",
                "HubReports", "HubAudit", "HubDevices", "HubReleases", "HubTunnel",
            ]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    ],
    targets: [
        // Floor 0
        system("CSQLite", pkgConfig: "sqlite3", apt: "libsqlite3-dev"),
        system("CZstd", pkgConfig: "libzstd", apt: "libzstd-dev"),
        system("COpenSSL", pkgConfig: "libcrypto", apt: "libssl-dev"),
        system("CMnl", pkgConfig: "libmnl", apt: "libmnl-dev"),
        system("CZlib", pkgConfig: "zlib", apt: "zlib1g-dev"),
        system("CDivsufsort", pkgConfig: nil, apt: "libdivsufsort-dev"),
        system("CQREncode", pkgConfig: "libqrencode", apt: "libqrencode-dev"),
        .systemLibrary(name: "CPKCS11"),
        .systemLibrary(name: "CLinux"),

        // Floor 1
        library("Base", ["COpenSSL"]),

        // Floor 2
        library("Model", ["Base"]),
        library("SQLite", ["Base", "CSQLite"]),
        library("Archive", ["Base", "CZstd", "CZlib"]),
        library("PlainHTTP", ["Base", nioCore, nioPosix, nioHTTP1]),
        library("HTTPFetch", ["Base", asyncHTTPClient, nioCore, nioHTTP1]),

        // Floor 3
        library("CLISupport", ["Base", "Model", argumentParser]),
        library("Trust", ["Base", "Model", "SQLite", "COpenSSL", "CPKCS11"]),
        library("OCI", ["Base", "Model", "Archive"]),
        library("ImageDelta", ["Base", "CZlib", "CZstd", "CLinux"]),
        library("DockerEngine", ["Base", "Model", "PlainHTTP", nioCore, nioHTTP1]),
        library("WireGuard", ["Base", "Model", "CLinux", "COpenSSL", "CMnl"]),
        library("Compose", ["Base", "Model", yams]),

        library("ServiceSupport", ["Base", "Model", logging]),

        library("HubClient", ["Base", "Model", asyncHTTPClient, nioCore, nioHTTP1, nioSSL]),

        // Floor 4
        library("TrustHTTP", ["Base", "HTTPFetch", "Trust"]),
        library("ReleaseBundle", ["Base", "Model", "Archive", "OCI", "ImageDelta", "Trust"]),
        library("ImageDeltaCreate", ["Base", "ImageDelta", "CZstd", "CDivsufsort"]),
        library("TransparencyLog", ["Base", "Trust"]),
        library("HubProtocol", ["Base", "Model", "COpenSSL", "Trust", "WireGuard"]),

        // Floor 5
        library(
            "AgentCore",
            [
                "Base", "Model", "ServiceSupport", "SQLite", "Archive", "Trust", "OCI", "ImageDelta", "ReleaseBundle",
                "DockerEngine", "CLinux", logging, nioCore, nioPosix, nioHTTP1,
            ]),
        library(
            "Operator",
            [
                "Base", "Model", "Archive", "Compose", "OCI", "Trust", "ReleaseBundle", "DockerEngine",
                "ImageDelta", "ImageDeltaCreate", nioPosix,
            ]),
        hubLibrary("HubCore", ["Base", "Model", "COpenSSL", "Trust", "WireGuard", "HubProtocol"]),

        hubLibrary(
            "HubHTTP",
            [
                "Base", "HubProtocol", "PlainHTTP", "WireGuard", logging, nioCore, nioPosix, nioHTTP1, nioSSL,
                nioConcurrencyHelpers,
            ]),

        // Floor 6
        library(
            "AgentHub",
            [
                "Base", "Model", "Archive", "PlainHTTP", "Trust", "OCI", "WireGuard", "HubProtocol", "TransparencyLog",
                "AgentCore", logging, nioCore, nioHTTP1, nioPosix,
            ]),
        hubLibrary("HubStore", ["Base", "Model", "Archive", "OCI", "SQLite", "HubCore"]),
        hubLibrary("HubTokens", ["Base", "Model", "Trust", "WireGuard", "HubCore"]),

        // Floor 7
        hubLibrary("HubEnrolment", ["Base", "WireGuard", "HubProtocol", "HubCore", "HubStore"]),
        hubLibrary("HubReports", ["Base", "Trust", "HubProtocol", "HubCore", "HubStore"]),
        hubLibrary(
            "HubReleases", ["Base", "Model", "Trust", "ReleaseBundle", "HubCore", "HubStore"]),
        hubLibrary("HubAudit", ["Base", "Trust", "TransparencyLog", "HubCore", "HubStore"]),

        // Floor 8
        hubLibrary(
            "HubDevices",
            [
                "Base", "Model", "Archive", "Trust", "WireGuard", "TransparencyLog", "HubProtocol", "HubHTTP",
                "HubCore", "HubStore",
                "HubTokens", "HubEnrolment", "HubReports", "HubAudit", logging, nioCore, nioHTTP1,
                nioConcurrencyHelpers,
            ]),

        hubLibrary(
            "HubTunnel",
            ["Base", "WireGuard", "HubProtocol", "HubCore", "HubStore", "HubEnrolment", logging]),

        // Floor 9
        hubLibrary(
            "HubManagement",
            [
                "Base", "Model", "Trust", "WireGuard", "TransparencyLog", "HubProtocol", "HubHTTP", "HubCore",
                "HubStore",
                "HubTokens", "HubEnrolment", "HubReleases", "HubAudit", "HubDevices", "HubTunnel", "OCI", logging,
                nioCore, nioHTTP1,
                nioConcurrencyHelpers,
            ]),

        // Floor 10
        hubLibrary(
            "HubServer",
            [
                "Base", "Model", "COpenSSL", "ServiceSupport", "Trust", "WireGuard", "TransparencyLog", "HubProtocol",
                "HubHTTP",
                "HubCore",
                "HubStore", "HubTokens", "HubEnrolment", "HubReleases", "HubAudit", "HubDevices", "HubTunnel",
                "HubManagement",
                "OCI", logging,
                nioCore, nioPosix, nioSSL, nioConcurrencyHelpers,
            ]),

        // Floor 11
        executable(
            "holdfast",
            [
                "Base", "Model", "CLISupport", "Compose", "Operator", "Trust", "ReleaseBundle", "ImageDelta",
                "ImageDeltaCreate", "WireGuard", "HubClient", "TransparencyLog", "CQREncode", "OCI", argumentParser,
            ]),
        executable(
            "holdfast-agent",
            [
                "Base", "Model", "CLISupport", "ServiceSupport", "OCI", "DockerEngine", "PlainHTTP", "WireGuard",
                "AgentCore",
                "AgentHub", "Trust", argumentParser, logging, nioCore, nioPosix,
            ]),
        .executableTarget(
            name: "holdfast-hub",
            dependencies: [
                "Base", "Model", "CLISupport", "ServiceSupport", "WireGuard", "HubProtocol", "HubCore", "HubServer",
                argumentParser,
                logging,
            ], path: "hub/Sources/holdfast-hub", swiftSettings: swiftSettings, linkerSettings: [releaseLink]),
        executable("holdfast-tuf", ["Base", "Model", "CLISupport", "HTTPFetch", "Trust", "TrustHTTP", argumentParser]),

        // Tests
        .target(name: "TestSupport", dependencies: ["Base"], path: "Tests/TestSupport", swiftSettings: swiftSettings),
        .target(
            name: "AgentTestSupport",
            dependencies: [
                "AgentCore", "Archive", "Base", "CSQLite", "Model", "OCI", "TestSupport", "Trust", logging, nioPosix,
            ],
            path: "Tests/AgentTestSupport", swiftSettings: swiftSettings),
        .target(
            name: "CrashTestSupport",
            dependencies: [
                "AgentCore", "AgentTestSupport", "Archive", "Base", "CSQLite", "ImageDeltaCreate", "Model", "OCI",
                "SQLite", "TestSupport", "Trust", logging, nioPosix,
            ],
            path: "Tests/CrashTestSupport", swiftSettings: swiftSettings),
        // What `tools/crash-matrix --full` plays the whole matrix with.
        .executableTarget(
            name: "crash-matrix", dependencies: ["Base", "CrashTestSupport"], path: "Tests/CrashMatrixProgram",
            swiftSettings: swiftSettings),
        .target(
            name: "HTTPTestSupport", dependencies: ["TestSupport", nioCore, nioPosix], path: "Tests/HTTPTestSupport",
            swiftSettings: swiftSettings),
        .target(
            name: "EngineTestSupport",
            dependencies: ["Base", "Model", "DockerEngine", "TestSupport", nioCore, nioPosix],
            path: "Tests/EngineTestSupport", swiftSettings: swiftSettings),
        tests("ManifestTests", []),
        tests("BaseTests", ["Base"]),
        tests("ArchiveTests", ["Archive", "Base"]),
        tests("OCITests", ["Archive", "Base", "Model", "OCI"]),
        tests("ReleaseBundleTests", ["Archive", "Base", "Model", "OCI", "ReleaseBundle", "Trust"]),
        tests("ModelTests", ["Model"]),
        tests("WireGuardTests", ["Base", "CMnl", "Model", "Trust", "WireGuard", "holdfast"]),
        tests(
            "IntegrationTests",
            [
                "AgentCore", "Base", "Model", "DockerEngine", "EngineTestSupport", "Trust", logging, "holdfast",
                "holdfast-agent",
            ]),
        tests(
            "DockerEngineTests",
            ["Base", "Model", "DockerEngine", "EngineTestSupport", "HTTPTestSupport", nioCore, nioPosix]),
        tests("PlainHTTPTests", ["Base", "HTTPTestSupport", "PlainHTTP", nioCore, nioHTTP1, nioPosix]),
        tests("TrustTests", ["Base", "HTTPFetch", "Model", "SQLite", "Trust", "TrustHTTP", nioCore, nioPosix]),
        tests("SQLiteTests", ["Base", "SQLite"]),
        tests(
            "AgentCoreTests",
            [
                "AgentCore", "AgentTestSupport", "Archive", "Base", "DockerEngine", "HTTPTestSupport", "Model", "OCI",
                "SQLite",
                "ServiceSupport", "Trust", logging, nioCore, nioPosix,
            ]),
        tests(
            "CrashTests",
            ["AgentCore", "AgentTestSupport", "Base", "CrashTestSupport", "Model", "OCI", "SQLite", "Trust"]),
        tests(
            "AgentHubTests",
            [
                "AgentCore", "AgentHub", "AgentTestSupport", "Archive", "Base", "HubAudit", "HubCore", "HubEnrolment",
                "HubProtocol", "HubReports", "HubStore", "HubTokens", "Model", "OCI", "Trust",
                "TransparencyLog", "WireGuard", logging, nioPosix,
            ]),
        tests(
            "ImageDeltaTests",
            ["Archive", "Base", "ImageDelta", "ImageDeltaCreate", "Model", "OCI", "ReleaseBundle"]),
        tests("CLISupportTests", ["Base", "Model", "CLISupport", argumentParser]),
        tests("ComposeTests", ["Base", "Model", "Compose"]),
        tests(
            "OperatorTests",
            [
                "AgentTestSupport", "Archive", "Base", "Compose", "DockerEngine", "EngineTestSupport", "Model", "OCI",
                "Operator",
                "ReleaseBundle", "Trust", "holdfast", "holdfast-hub",
            ]),
        tests(
            "FleetTests",
            [
                "AgentTestSupport", "Base", "HubCore", "HubProtocol", "HubStore", "Model", "WireGuard", "holdfast",
                "holdfast-agent", "holdfast-hub",
            ]),
        tests("HubProtocolTests", ["Base", "Model", "Trust", "WireGuard", "HubProtocol"]),
        tests("HubCoreTests", ["Base", "Model", "Trust", "WireGuard", "HubProtocol", "HubCore"]),
        tests("ConformanceTests", ["Base", "Model", "Archive", "SQLite", "HubCore", "HubStore"]),
        tests(
            "HubHTTPTests",
            [
                "Base", "WireGuard", "HubProtocol", "HubHTTP", "HTTPTestSupport", logging, nioCore, nioPosix, nioHTTP1,
            ]),
        tests(
            "HubDevicesTests",
            [
                "Base", "Model", "Trust", "WireGuard", "HubProtocol", "HubHTTP", "HubCore", "HubStore", "HubTokens",
                "HubEnrolment", "HubAudit", "HubDevices", "HTTPTestSupport", logging, nioCore, nioHTTP1, nioPosix,
            ]),
        tests("HubServerTests", ["Base", "Model", "ServiceSupport", "HubServer"]),
        tests(
            "HubManagementTests",
            [
                "Base", "Model", "Trust", "WireGuard", "HubProtocol", "HubHTTP", "HubCore", "HubStore", "HubTokens",
                "HubEnrolment", "HubReleases", "HubAudit", "HubDevices", "HubTunnel", "HubManagement", "OCI",
                "HTTPTestSupport", logging, nioCore, nioHTTP1, nioPosix, yams,
            ]),
        tests("TransparencyLogTests", ["Base", "Trust", "TransparencyLog"]),
        tests("HubTokensTests", ["Base", "Model", "Trust", "WireGuard", "HubCore", "HubTokens"]),
        tests("HubAuditTests", ["Base", "Trust", "TransparencyLog", "HubCore", "HubStore", "HubAudit"]),
        tests(
            "HubReportsTests",
            ["Base", "Model", "Trust", "WireGuard", "HubProtocol", "HubCore", "HubStore", "HubReports"]),
        tests(
            "HubEnrolmentTests",
            ["Base", "Trust", "WireGuard", "HubProtocol", "HubCore", "HubStore", "HubEnrolment"]),
    ]
)
