import Base
import HubAudit
import HubCore
import HubDevices
import HubEnrolment
import HubManagement
import HubProtocol
import HubStore
import HubTokens
import HubTunnel
import Logging
import NIOHTTP1
import TestSupport
import Testing
import Trust
import WireGuard
import Yams

/// `hub/openapi.yaml` says what the routes are, and nothing else.
@Suite struct OpenAPITests {
    private struct Operation: Hashable, CustomStringConvertible {
        var method: String
        var path: String
        /// Empty without a token.
        var scope: String
        var description: String { "\(method) \(path) [\(scope)]" }
    }

    @Test func theDocumentAndTheRoutesAreTheSame() async throws {
        let bench = try ManagementBench()
        let served = Set(
            bench.services.routes().map {
                Operation(method: $0.method.rawValue, path: $0.pattern, scope: $0.scope?.rawValue ?? "")
            })
        let documented = try documented()
        #expect(served.subtracting(documented).isEmpty, "not in openapi.yaml")
        #expect(documented.subtracting(served).isEmpty, "in openapi.yaml only")
    }

    private func documented() throws -> Set<Operation> {
        let text = try Repository.text("hub/openapi.yaml")
        let root = try #require(try Yams.compose(yaml: text)?.mapping)
        #expect(root["openapi"]?.string == "3.1.0")
        var found: Set<Operation> = []
        for (path, item) in try #require(root["paths"]?.mapping) {
            for (method, operation) in try #require(item.mapping) where method.string != "parameters" {
                let name = try #require(method.string)
                let security = operation["security"]?.sequence
                let scope = security?.first?["operator"]?.sequence?.first?.string ?? ""
                #expect(operation["operationId"]?.string != nil, "\(name) \(path.string ?? "") has no operationId")
                found.insert(
                    Operation(method: name.uppercased(), path: try #require(path.string), scope: scope))
            }
        }
        return found
    }
}
