// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "trust-bench",
    dependencies: [.package(name: "holdfast", path: "../../..")],
    targets: [
        .executableTarget(
            name: "trust-bench", dependencies: [.product(name: "Trust", package: "holdfast")],
            swiftSettings: [.swiftLanguageMode(.v6)])
    ]
)
