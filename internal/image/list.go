package image

// listed is a node as the writers of file systems have it.
type listed struct {
	node   *Node
	number uint64 // by which directories refer to it; the writer's to set
	links  uint32
	parent *listed // of a directory; the root is its own
	names  []string
	kids   []*listed // by their names
}

// list lists a tree's nodes depth first, so that the root comes first. One with several names is listed once.
func (t *Tree) list() []*listed {
	var all []*listed
	byNode := map[*Node]*listed{}
	var add func(n *Node, parent *listed) *listed
	add = func(n *Node, parent *listed) *listed {
		if i := byNode[n]; i != nil {
			i.links++
			return i
		}
		i := &listed{node: n, parent: parent, links: 1}
		byNode[n] = i
		all = append(all, i)
		if n.children == nil {
			return i
		}
		i.links = 2
		i.names = n.names()
		for _, name := range i.names {
			kid := add(n.children[name], i)
			if kid.node.children != nil {
				i.links++
			}
			i.kids = append(i.kids, kid)
		}
		return i
	}
	root := add(t.root, nil)
	root.parent = root
	return all
}
