import Base

/// A named choice of devices by their labels. A token's `--fleet edge` gives its devices the label `fleet=edge`,
/// and a fleet without a selector of its own chooses that label.
public struct Fleet: HubRecord {
    public static let kind = RecordKind.fleet
    public static let label = "fleet"

    public var id: FleetID
    public var selector: Selector
    public var description: String

    /// - Throws: `hub.limit` for a description of more than ``HubLimits/textLength`` bytes.
    public init(id: FleetID, selector: Selector? = nil, description: String = "") throws(HubError) {
        guard description.utf8.count <= HubLimits.textLength else {
            throw HubError(.limit, "fleet \(id)", "the description has more than \(HubLimits.textLength) bytes")
        }
        self.id = id
        if let selector {
            self.selector = selector
        } else {
            self.selector = try Selector("\(Self.label)=\(id)")
        }
        self.description = description
    }

    public var recordID: String { id.text }

    public func contains(_ device: Device) -> Bool {
        device.state == .active && selector.matches(device.recordLabels)
    }
}
