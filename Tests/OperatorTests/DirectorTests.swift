import Base
import Model
import ReleaseBundle
import TestSupport
import Testing
import Trust

/// A director kept on the operator's laptop, by its commands, up to what devices make of the stick.
@Suite(.serialized) struct DirectorTests {
    /// What device `id` takes from a stick, or the code of why it takes nothing.
    private func outcome(_ id: String, _ stick: String, _ bench: Bench) async throws -> String {
        let bundle = try BundleReader(opening: bench.path(stick))
        func root(_ folder: String) throws -> [UInt8] {
            try bench.fileSystem.read(bench.path("repo/\(folder)metadata/1.root.json"), limit: 1 << 20)
        }
        let state = try TrustState.provision(
            releaseRoot: root(""), directorRoot: root("director/"), buildTime: Timestamp(seconds: 0))
        let verifier = ReleaseVerifier(
            device: DeviceIdentity(id: id, architecture: "amd64"), policy: TrustPolicy(requiresDirector: true),
            clock: ClockReading(now: SystemClock.live.now(), isTrusted: true))
        let release = try #require(try bundle.metadataFetcher(.release))
        do {
            return try await verifier.verify(
                from: TrustSources(
                    release: release, director: try bundle.metadataFetcher(.director), isSideload: true),
                load: bundle.targetLoader, state: state
            ) { _ in }.targetPath
        } catch {
            return (error as? any CodedError)?.code ?? "\(error)"
        }
    }

    @Test func aDeviceTakesFromTheStickWhatItIsAssigned() async throws {
        let bench = try Bench()
        try await bench.prepare()
        for version in ["1.0.0", "1.1.0"] { _ = try await bench.build(version) }
        let early = try await bench.run("director assign @repo --device pump-7 --release shop/1.0.0")
        #expect(early.status == Base.ExitStatus.noInput.rawValue)
        #expect(early.errorOutput.contains("repo init"), "the error says what to do")
        try await bench.succeed("repo init @repo --director --lab")
        let assigned = try await bench.json(
            "director assign @repo --device pump-7 --device pump-8 --release shop/1.0.0")
        #expect(assigned["signing"]?["pending"] == [])
        try await bench.succeed("director assign @repo --device pump-8 --release shop/1.1.0")
        let list = try await bench.json("director list @repo")
        #expect(
            list.array?.map { "\($0["device"]?.string ?? "") \($0["version"]?.string ?? "")" } == [
                "pump-7 1.0.0", "pump-8 1.1.0",
            ])
        #expect(list.array?.allSatisfy { $0["signed"]?.bool == true } == true)
        try await bench.succeed("bundle export @repo --release shop/1.0.0 --release shop/1.1.0 -o @stick")
        #expect(try await outcome("pump-7", "stick", bench) == "shop/1.0.0.release.json")
        #expect(try await outcome("pump-8", "stick", bench) == "shop/1.1.0.release.json")
        #expect(try await outcome("pump-9", "stick", bench) == "trust.no-match")

        try await bench.succeed("director remove @repo --device pump-7")
        try await bench.succeed("bundle export @repo --release shop/1.1.0 -o @later")
        #expect(try await outcome("pump-7", "later", bench) == "trust.no-match")
        let again = try await bench.run("director remove @repo --device pump-7")
        #expect(again.status == Base.ExitStatus.noInput.rawValue)
        #expect(again.errorOutput.contains("trust.not-assigned"))
        let lint = try await bench.run("repo lint @repo --director")
        #expect(lint.status == 0, "\(lint.output)")
    }

    /// The release repository goes on; the director on the stick is of before.
    @Test func aReleaseThatOnlyOneRepositoryListsIsRefused() async throws {
        let bench = try Bench()
        try await bench.prepare()
        _ = try await bench.build("1.0.0")
        try await bench.succeed("repo init @repo --director --lab")
        try await bench.succeed("director assign @repo --device pump-7 --release shop/1.0.0")
        let release = Repository(path: bench.path("repo"))
        let signers = try KeyStore(directory: bench.path("keys")).list().map {
            try KeyStore(directory: bench.path("keys")).signer($0.name, passphrase: .none)
        }
        _ = try await bench.build("2.0.0")
        try release.remove(path: "shop/1.0.0.release.json", signers: signers)
        try await bench.succeed("bundle export @repo --release shop/2.0.0 -o @stick")
        #expect(try await outcome("pump-7", "stick", bench) == "trust.director-disagrees")
    }

    @Test func releasesAreSpreadOverHashBinsByCommand() async throws {
        let bench = try Bench()
        try await bench.prepare()
        try await bench.succeed("keys generate online --plain")
        let report = try await bench.json("repo delegate @repo bin --bins 8 --new-key online")
        #expect(report["pending"] == [])
        _ = try await bench.build("1.0.0")
        let status = try await bench.json("repo status @repo")
        let bins = try #require(status["roles"]?.array).filter { $0["name"]?.string?.hasPrefix("bin-") == true }
        #expect(bins.count == 8)
        #expect(bins.compactMap { $0["targets"]?.integer }.reduce(0, +) == 1)
        try await bench.succeed("bundle export @repo --release shop/1.0.0 -o @stick")
        let verified = try await bench.json("bundle verify @stick --root @repo/metadata/1.root.json")
        #expect(verified["trusted"]?.bool == true)
        for wrong in ["--bins 7", "--bins 1", "--bins 8192", "--bins 8 --path a/*", ""] {
            let result = try await bench.run("repo delegate @repo other --new-key online \(wrong)")
            #expect(result.status == Base.ExitStatus.usage.rawValue, "\(wrong): \(result.errorOutput)")
        }
    }
}
