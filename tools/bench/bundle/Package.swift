// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "bundle-bench",
    dependencies: [.package(name: "holdfast", path: "../../..")],
    targets: [
        .executableTarget(
            name: "bundle-bench",
            dependencies: ["Archive", "Base", "Model", "OCI"].map { .product(name: $0, package: "holdfast") },
            swiftSettings: [.swiftLanguageMode(.v6)])
    ]
)
