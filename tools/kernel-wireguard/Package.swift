// swift-tools-version: 6.2
import PackageDescription

// The program that `tools/kernel-wireguard-test` runs inside an emulated machine.
let package = Package(
    name: "kernel-wireguard",
    dependencies: [.package(name: "holdfast", path: "../..")],
    targets: [
        .executableTarget(
            name: "wgkernel", dependencies: [.product(name: "WireGuard", package: "holdfast")],
            swiftSettings: [.swiftLanguageMode(.v6)])
    ]
)
