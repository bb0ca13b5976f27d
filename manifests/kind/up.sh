#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A kind cluster with everything that a run needs; `make kind-up` runs this, and may again: what is there stays.
# Settings come from the environment:
#
#   PIP_EXTRA_INDEX_URL  index of torch for CPU; needed where nothing else says where that is, and not with IMAGE
#   IMAGE                an image to use as it is; without it, tadrib:dev is built for CPU, with the settings of build.sh
#   NODE_IMAGE           kind's image of a node, for another version of Kubernetes [kind's own]
#   DOCKER, KIND, KUBECTL, HELM    the programs
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/../.."
missing=()

find_program() { # the variable that may name it, its name, where to get it
    local candidate
    for candidate in ${!1:-".venv/bin/$2" "$2"}; do
        if command -v "$candidate" > /dev/null; then
            printf -v "$2" %s "$candidate"
            return
        fi
    done
    missing+=("$2 ($3)")
}
find_program DOCKER docker https://docs.docker.com/engine/install
find_program KIND kind https://kind.sigs.k8s.io
find_program KUBECTL kubectl "make install, or https://kubernetes.io/docs/tasks/tools"
find_program HELM helm "make install, or https://helm.sh/docs/intro/install"
if ((${#missing[@]})); then
    printf -v listed '%s, ' "${missing[@]}"
    echo "Please install what a kind cluster needs and this machine lacks: ${listed%, }." >&2
    exit 2
fi
"$docker" version > /dev/null 2>&1 || {
    echo "$docker does not answer: does its daemon run, may you use it? ($docker version)" >&2
    exit 2
}

if [[ -z ${IMAGE:-} ]]; then
    if [[ -z ${PIP_INDEX_URL:-}${PIP_EXTRA_INDEX_URL:-}${PIP_NO_INDEX:-}${PIP_CONF:-}${DEVICE:-} ]] &&
        ! compgen -G "trainer_image/wheels/torch-*" > /dev/null; then
        echo "Please set PIP_EXTRA_INDEX_URL to the index of torch for CPU, which pytorch.org names; or DEVICE=cuda," \
            "whose image of 6 GB runs on CPU, too." >&2
        exit 2
    fi
    IMAGE=tadrib:dev DEVICE=${DEVICE:-cpu} DOCKER=$docker trainer_image/build.sh
fi
image=${IMAGE:-tadrib:dev}

if [[ " $("$kind" get clusters 2> /dev/null | paste -s -d ' ' -) " == *" tadrib "* ]]; then
    "$kind" export kubeconfig --name tadrib
else
    "$kind" create cluster --config manifests/kind/cluster.yaml --wait 5m ${NODE_IMAGE:+--image "$NODE_IMAGE"}
fi
if "$docker" image inspect "$image" > /dev/null 2>&1; then
    workers=$("$kind" get nodes --name tadrib | grep -v control-plane | paste -s -d , -)
    "$kind" load docker-image "$image" --name tadrib --nodes "$workers"
else
    echo "Docker does not have $image here, so nodes will pull it"
fi

# namespace and operator in this order: the operator's rights are a Role in each namespace that it watches
on=(--context kind-tadrib --namespace tadrib)
"$kubectl" "${on[@]}" apply --server-side --kustomize manifests/overlays/kind
"$helm" upgrade --install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm/ \
    --version 1.7.0 --kube-context kind-tadrib --namespace kuberay-system --create-namespace \
    --set singleNamespaceInstall=true --set-json watchNamespace='["tadrib"]' --wait --timeout 10m

rows=()
for method in sft dpo ipo kto cpo simpo; do
    rows+=("--from-file=$method.jsonl=examples/data/${method}_train.jsonl")
done
"$kubectl" "${on[@]}" create configmap rows "${rows[@]}" --dry-run=client --output yaml |
    "$kubectl" "${on[@]}" apply --server-side --filename -
sed "s|image: tadrib:dev|image: $image|" manifests/kind/volume.yaml |
    "$kubectl" "${on[@]}" apply --server-side --filename -
"$kubectl" "${on[@]}" wait --for=condition=Ready --timeout=10m pod/volume
echo "The cluster is ready, as context kind-tadrib. docs/kubernetes.md has a first run; make kind-test tries everything."
