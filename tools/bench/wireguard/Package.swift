// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "wireguard-bench",
    dependencies: [.package(name: "holdfast", path: "../../..")],
    targets: [
        .executableTarget(
            name: "wgbench", dependencies: [.product(name: "WireGuard", package: "holdfast")],
            swiftSettings: [.swiftLanguageMode(.v6)])
    ]
)
