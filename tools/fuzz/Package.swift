// swift-tools-version: 6.2
import PackageDescription

// Fuzz targets, built with libFuzzer by `tools/fuzz/run`. One executable each; its module is `Fuzz<What>`, its
// seeds are `corpus/<What>`. Kept out of the main package, which would build them on every test run.
func fuzz(_ name: String, _ products: [String]) -> Target {
    .executableTarget(
        name: "Fuzz" + name, dependencies: products.map { .product(name: $0, package: "holdfast") },
        swiftSettings: [.swiftLanguageMode(.v6)])
}

let package = Package(
    name: "fuzz",
    dependencies: [.package(name: "holdfast", path: "../..")],
    targets: [
        fuzz("Archive", ["Archive"]),
        fuzz("Image", ["OCI"]),
        fuzz("ImageDelta", ["ImageDelta"]),
        fuzz("TZif", ["Base", "Model"]),
        fuzz("TrustEnvelope", ["Trust"]),
        fuzz("TrustJSON", ["Trust"]),
        fuzz("TrustKey", ["Trust"]),
        fuzz("TrustMetadata", ["Trust"]),
        fuzz("WireGuardNetlink", ["WireGuard"]),
        fuzz("WireGuardUAPI", ["WireGuard"]),
    ]
)
