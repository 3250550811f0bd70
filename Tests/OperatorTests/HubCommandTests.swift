import Base
import Glibc
import Model
import TestSupport
import Testing

@testable import holdfast

/// `holdfast hub` with a real hub in a network namespace of its own.
@Suite struct HubCommandTests {
    private static let canRun =
        geteuid() == 0 && ["unshare", "ip", "wireguard-go", "jq", "python3"].allSatisfy(Tool.isInstalled)

    @Test(.enabled(if: canRun, "needs root, iproute2, wireguard-go, jq and python3: tools/setup"))
    func anOperatorDoesADaysWork() async throws {
        let bench = try Bench()
        try await bench.prepare()
        _ = try await bench.build("1.0.0")
        let script = bench.path("day.sh")
        try FileSystem().replace(script, with: Array(Self.day.utf8), mode: 0o755, op: "test")
        let result = try await Command.run(
            ["unshare", "-n", "-m", "bash", script],
            environment: ["WORK": bench.folder.path, "BIN": Path.parent(Bench.binary)])
        #expect(result.status == 0, "\(result.output)\n\(result.errorOutput)")
        #expect(result.output.hasSuffix("all done\n"))
    }

    /// Each line fails the script when the built programs do not do what it says.
    private static let day = """
        set -euo pipefail
        ip link set lo up
        mkdir -p /var/run/wireguard && mount -t tmpfs none /var/run/wireguard
        cd "$WORK"
        export PATH="$BIN:$PATH" XDG_CONFIG_HOME="$WORK/config"
        hub() { holdfast hub "$@"; }
        refused() { local code=$1 status; shift; set +e; hub "$@" >out 2>err; status=$?; set -e
            grep -q "\\\\[$code\\\\]" err || { echo "hub $*: status $status, not $code"; cat out err; exit 1; }; }
        fails() { local code=$1; shift; if holdfast-hub "$@" >out 2>err; then echo "holdfast-hub $*: done"; exit 1; fi
            grep -q "\\\\[$code\\\\]" err || { echo "holdfast-hub $*: not $code"; cat out err; exit 1; }; }
        echo "a long pass phrase" >password && chmod 600 password
        holdfast-hub init --config hub.json --name localhost --endpoint 127.0.0.1:51820 \\
            --release-root repo/metadata/1.root.json --state "$WORK/hub" --password-file password >/dev/null
        holdfast-hub serve --config hub.json 2>hub.log &
        server=$!
        # The tunnel outlives its hub; without its interface wireguard-go ends.
        trap '{ kill $server; ip link delete hf-hub0; } 2>/dev/null || true' EXIT
        refused hub-client.session devices
        refused hub-client.url login http://localhost:8443 --user admin --passphrase-file password
        for try in $(seq 300); do
            if hub login https://localhost:8443 --user admin --ca hub/tls/certificate.pem --passphrase-file password >/dev/null 2>err; then break; fi
            grep -q hub-client.connect err || { cat err hub.log; exit 1; }
            sleep 0.2
        done
        [ "$(stat -c %a config/holdfast/hub.json)" = 600 ]
        refused hub-client.connect login https://localhost:8443 --user admin --passphrase-file password
        echo wrong >wrong
        refused hub.login-refused login https://localhost:8443 --user admin --ca hub/tls/certificate.pem --passphrase-file wrong

        hub fleet set cranes --description harbour >/dev/null
        [ "$(hub fleets --output json | jq -r '.[0].selector')" = fleet=cranes ]
        hub token create --fleet cranes --label site=harbour --ttl 1h --uses 1 -o token >/dev/null
        [ "$(stat -c %a token)" = 600 ]
        [ "$(hub tokens --output json | jq -r '.[0].labels.site')" = harbour ]
        hub tokens | grep -q 'fleet=cranes,site=harbour'
        refused hub.not-found device show d-nothere
        refused cli.usage token create --ttl never

        hub releases push repo --output json 2>/dev/null | jq -e '.blobs > 0 and (.added | length) == 1' >/dev/null
        hub releases push repo --output json 2>/dev/null | jq -e '.blobs == 0 and (.added | length) == 0' >/dev/null
        [ "$(hub releases --output json | jq -r '.[0].version')" = 1.0.0 ]
        refused hub.not-found assign shop/9.0.0 --fleet cranes
        hub assign shop/1.0.0 --fleet cranes >/dev/null
        hub assignments | grep -q 'fleet cranes'
        hub unassign "$(hub assignments --output json | jq -r '.[0].id')" >/dev/null
        [ "$(hub assignments)" = "no assignment" ]
        [ "$(hub peers --output json | jq length)" = 1 ]

        hub audit verify --checkpoint last.note >/dev/null 2>&1
        hub fleet set canary --selector ring=canary >/dev/null
        hub audit verify --checkpoint last.note --output json 2>/dev/null | jq -e .verified >/dev/null
        [ "$(hub events --from 0 --count 3 --output json | jq -r .event.kind | head -n 1)" = hub.created ]
        echo "an even longer pass phrase" >other && chmod 600 other
        hub operator create ci --scope releases:read --scope releases:publish --passphrase-file other >/dev/null
        hub operators | grep -q 'releases:publish releases:read'
        hub login https://localhost:8443 --user ci --ca hub/tls/certificate.pem --passphrase-file other --session ci.json >/dev/null
        hub releases --session ci.json >/dev/null
        refused hub.scope assign shop/1.0.0 --fleet cranes --session ci.json
        refused hub.scope operators --session ci.json
        hub password --passphrase-file other --new-passphrase-file password --session ci.json >/dev/null
        refused hub-client.session releases --session ci.json
        refused hub.login-refused login https://localhost:8443 --user ci --ca hub/tls/certificate.pem --passphrase-file other --session ci.json
        [ "$(hub operator lock ci --output json | jq -r .locked)" = true ]
        refused hub.login-refused login https://localhost:8443 --user ci --ca hub/tls/certificate.pem --passphrase-file password --session ci.json
        hub operator unlock ci >/dev/null
        hub operator password ci --passphrase-file other >/dev/null
        hub operator scopes ci --scope devices:read --output json | jq -e '.scopes == ["devices:read"]' >/dev/null
        hub operator show ci | grep -q devices:read
        hub operator scopes ci --add hub:read --add events:read --remove devices:read --output json |
            jq -e '.scopes == ["events:read", "hub:read"]' >/dev/null
        refused cli.usage operator scopes ci --add hub:read --remove hub:read
        refused hub.conflict operator lock admin
        hub token revoke "$(hub tokens --output json | jq -r '.[0].id')" >/dev/null
        hub fleet delete canary >/dev/null
        hub logout >/dev/null
        refused hub-client.session devices
        if grep "pass phrase" hub.log; then exit 1; fi
        refuses_while_it_runs=0; holdfast-hub password admin --config hub.json 2>err || refuses_while_it_runs=$?
        [ "$refuses_while_it_runs" = 75 ]
        kill -TERM $server && wait $server
        holdfast-hub password admin --config hub.json --password-file other >/dev/null
        # An account from before a scope was known: nobody could give it, but the hub's own machine can.
        holdfast-hub scopes ci --config hub.json --all --output json | jq -e '.scopes | length > 15' >/dev/null
        holdfast-hub scopes ci --config hub.json --remove operators:write | grep -q ' operators:read'
        fails hub-server.last-operator scopes admin --config hub.json --remove operators:write
        fails hub-server.no-operator scopes nobody --config hub.json --all
        fails cli.usage scopes ci --config hub.json --add devices:fly
        fails cli.usage scopes ci --config hub.json
        # How old the hub's key is, is kept: the schedule counts from it.
        python3 -c 'import sqlite3, sys; sys.exit(sqlite3.connect("hub/hub.db").execute(
            "SELECT count(*) FROM record WHERE kind = ?", ("hub-ends",)).fetchone()[0] != 1)'
        python3 -c 'import sqlite3, sys; sys.exit(sum(b"operator.scopes-changed" in row[0] and b"\\"hub\\"" in row[0] for row in
            sqlite3.connect("hub/hub.db").execute("SELECT body FROM event")) < 2)'
        echo "all done"

        """

    @Test func lifetimesAreWholeNumbersWithAUnit() {
        #expect(Lifetime(argument: "90s")?.seconds == 90)
        #expect(Lifetime(argument: "2h")?.seconds == 7_200)
        #expect(Lifetime(argument: "7d")?.description == "7d")
        for text in ["", "h", "1", "-1h", "1.5h", "1w", "0s", "99999999999999999d", "１h"] {
            #expect(Lifetime(argument: text) == nil, "\(text)")
        }
    }

    @Test func eventsArePutTogetherFromTheirLines() {
        var event = ServerSentEvent()
        var found: [ServerSentEvent.Complete] = []
        for line in [": connected", "", "id: 7", "event: x", "data: {\"a\":", "data: 1}", "", "", "data:2", ""] {
            if let complete = event.take(line) { found.append(complete) }
        }
        #expect(found == [.init(id: "7", data: "{\"a\":\n1}"), .init(id: "7", data: "2")])
    }

    @Test func labelsAreSetAndTakenAway() throws {
        var members: JSONObject = ["ring": "one", "site": "a"]
        for label in ["ring-", "site=b", "type=x=y"] { try HubDeviceCommand.Label.apply(label, to: &members) }
        #expect(members == ["site": "b", "type": "x=y"])
        #expect(throws: (any Error).self) { try HubDeviceCommand.Label.apply("nothing", to: &members) }
    }

    @Test(arguments: 0..<130) func aCompactRangeHasTheTreesRoot(size: Int) {
        let leaves = (0..<size).map { Digest.sha256([UInt8($0)]) }
        var range = CompactRange()
        leaves.forEach { range.append($0) }
        #expect(range.root == Self.root(leaves[...]))
    }

    /// RFC 6962, section 2.1, word for word.
    private static func root(_ leaves: ArraySlice<Digest>) -> Digest {
        guard leaves.count > 1 else { return leaves.first ?? .sha256([]) }
        var half = 1
        while half * 2 < leaves.count { half *= 2 }
        let middle = leaves.startIndex + half
        return .sha256([1] + root(leaves[..<middle]).bytes + root(leaves[middle...]).bytes)
    }

    @Test(.enabled(if: Tool.isInstalled("zbarimg"), "zbar-tools is not installed: tools/setup"))
    func anotherReaderReadsTheCode() throws {
        let text = "HF1-AEV2J5PX-CTTL46PC-4FXF34ZF-OCDLOIGW-3HT6OR5U-2X4Q4BNS"
        let folder = try TemporaryDirectory()
        let image = folder.file("code.pgm")
        try FileSystem().replace(image, with: Self.picture(try #require(QRCode.text(text))), op: "test")
        let read = try Tool.run(["zbarimg", "--quiet", "--raw", image])
        #expect(read.output.contains(text), "\(read.output)")
    }

    /// What a light-on-dark terminal shows, as a portable graymap of eight dots a module.
    private static func picture(_ code: String) -> [UInt8] {
        let scale = 8
        let lines = code.split(separator: "\n").map(Array.init)
        let width = (lines.first?.count ?? 0) * scale
        var pixels: [UInt8] = []
        for line in lines {
            for isUpper in [true, false] {
                let row = line.flatMap { cell -> [UInt8] in
                    let isLight = cell == "█" || cell == (isUpper ? "▀" : "▄")
                    return Array(repeating: isLight ? 255 : 0, count: scale)
                }
                for _ in 0..<scale { pixels += row }
            }
        }
        return Array("P5\n\(width) \(lines.count * 2 * scale)\n255\n".utf8) + pixels
    }

    @Test func aTextThatIsTooLongHasNoCode() {
        #expect(QRCode.text(String(repeating: "a", count: 5_000)) == nil)
    }
}
