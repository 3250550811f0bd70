import Base
import Glibc
import Model
import Testing
import TrustHTTP

@testable import Trust

/// Every attack over every channel with every clock: generated from the table in `Attack.swift`.
@Suite struct AttackTableTests {
    @Test(arguments: attacks.map(\.name)) func theDeviceDoesAsTheTableSays(_ name: String) async throws {
        let attack = try #require(attacks.first { $0.name == name })
        let scratch = try Scratch()
        let lab = try LabRepository(scratch)
        try lab.add("web", "1.0.0", ctr: 1)
        try lab.add("web", "2.0.0", ctr: 2)
        // The device has seen the repository once, honestly, and runs the newest release.
        var state = try TrustState.provision(
            releaseRoot: lab.repository.rootBytes(), buildTime: testNow + -30 * secondsPerDay)
        let honest = try await verifier().verify(
            from: TrustSources(release: lab.fetcher(), isSideload: false), load: lab.loader(), state: state
        ) { _ in }
        state = honest.newState
        state.raiseFloors(app: "web", ctr: 2, epoch: 0)
        #expect(state.timeFloor == testNow)

        var stage = try Stage(lab)
        try attack.prepare(&stage)
        let documents = try lab.documents().merging(stage.documents) { $1 }
        let folder = try StageFolder(stage)
        let mirror = try await Mirror(stage, documents: Self.hashed(documents, by: lab))
        let device = state
        await withTaskGroup { group in
            for clock in ClockState.allCases {
                group.addTask {
                    let outcome = await Self.outcome(
                        from: TrustSources(release: mirror.metadata, isSideload: false), load: mirror.documents.load,
                        attack, clock, device)
                    Self.expect(outcome, attack, .http, clock)
                }
            }
        }
        try await mirror.close()
        for clock in ClockState.allCases {
            let outcome = await Self.outcome(
                from: TrustSources(release: folder, isSideload: true), load: { path, _, _ in documents[path] ?? [] },
                attack, clock, device)
            Self.expect(outcome, attack, .folder, clock)
        }
    }

    private static func expect(_ outcome: Verdict, _ attack: Attack, _ channel: Channel, _ clock: ClockState) {
        #expect(
            outcome == attack.verdict(channel, clock), "\(attack.name), \(channel.rawValue), clock \(clock.rawValue)")
    }

    /// What the device makes of what it is served.
    private static func outcome(
        from sources: TrustSources, load: @escaping TargetLoader, _ attack: Attack, _ clock: ClockState,
        _ state: TrustState
    ) async -> Verdict {
        let reading = clock.reading(now: testNow + attack.age, floor: state.timeFloor)
        do {
            let verified = try await verifier(reading).verify(from: sources, load: load, state: state) { _ in }
            #expect(verified.targetPath == "web/2.0.0.release.json")
            return .accepted(verified.freshness)
        } catch {
            return .refused(error.reason)
        }
    }

    /// Documents by the names that a mirror with consistent snapshots gives them: the hash that was signed.
    private static func hashed(_ documents: [String: [UInt8]], by lab: LabRepository) throws -> [String: [UInt8]] {
        var result: [String: [UInt8]] = [:]
        let honest = try lab.documents()
        for (path, bytes) in documents {
            let digest = Digest.sha256(honest[path] ?? bytes)
            result[Path.join(Path.parent(path), "\(digest.hex).\(Path.name(path))")] = bytes
        }
        return result
    }

    /// With `HOLDFAST_UPDATE_DOCS=1` in the environment the document is rewritten instead.
    @Test func theDocumentHoldsTheTable() throws {
        let file = Path.join(Path.parent(Path.parent(Path.parent(#filePath))), "docs/trust.md")
        let text = String(decoding: try FileSystem().read(file, limit: 1 << 20), as: UTF8.self)
        let start = try #require(text.firstRange(of: "<!-- attack table -->\n"))
        let end = try #require(text.firstRange(of: "<!-- end of attack table -->"))
        let expected = text[..<start.upperBound] + Self.markdown + "\n" + text[end.lowerBound...]
        if getenv("HOLDFAST_UPDATE_DOCS") != nil {
            try FileSystem().replace(file, with: Array(expected.utf8), op: "test.docs")
        } else {
            #expect(text == expected, "docs/trust.md is out of date: run this test with HOLDFAST_UPDATE_DOCS=1")
        }
    }

    /// The table as the document has it.
    static var markdown: String {
        var lines = [
            "| attack | what happens | " + "over HTTP | from a folder" + " | why |",
            "|---|---|---|---|---|",
        ]
        for attack in attacks {
            let cells = Channel.allCases.map { channel in Self.summary(attack, channel) }
            let why = attack.why.split(whereSeparator: \.isNewline).joined(separator: " ")
            lines.append("| \(attack.name) | \(attack.what) | \(cells.joined(separator: " | ")) | \(why) |")
        }
        return lines.joined(separator: "\n")
    }

    /// One verdict when all clocks lead to it, else each with its clocks.
    private static func summary(_ attack: Attack, _ channel: Channel) -> String {
        var groups: [(verdict: String, clocks: [String])] = []
        for clock in ClockState.allCases {
            let verdict = attack.verdict(channel, clock).description
            if let place = groups.firstIndex(where: { $0.verdict == verdict }) {
                groups[place].clocks.append(clock.rawValue)
            } else {
                groups.append((verdict, [clock.rawValue]))
            }
        }
        guard groups.count > 1 else { return groups.first.map { "\($0.verdict), any clock" } ?? "" }
        return groups.map { "\($0.clocks.joined(separator: ", ")): \($0.verdict)" }.joined(separator: "; ")
    }
}
