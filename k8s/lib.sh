# Functions shared by deploy, undeploy and render. They run in the root of the repository.
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CONTROLLER=workflow-controller-configmap # Kubeflow's own ConfigMap, changed in place
BEFORE=-before-syntrial                  # suffix of the name of a ConfigMap that keeps the former content

die() {
  echo "error: $*" >&2
  exit 2
}

# KUBECTL may be another program, or a program with arguments.
kubectl() {
  command ${KUBECTL:-kubectl} "$@"
}

reach() {
  kubectl get --raw /readyz >/dev/null 2>&1 ||
    die "no cluster answers ${KUBECTL:-kubectl}; KUBECONFIG names the file with the address of one"
}

# Prints the folder of an overlay, given as a name in k8s/overlays or as a path.
folder_of() {
  local folder=$1
  [ ! -d "k8s/overlays/$1" ] || folder=k8s/overlays/$1
  [ -f "$folder/kustomization.yaml" ] ||
    die "there is no overlay $1; there are $(ls -m k8s/overlays), and any folder with a kustomization.yaml can be used"
  echo "$folder"
}

# Prints the namespace of the manifests on stdin, which must all have the same.
namespace_of() {
  local found
  found=$(sed -n 's/^  namespace: //p' | sort -u)
  [[ $found =~ ^[a-z0-9-]+$ ]] || die "the overlay needs a single namespace for all objects; set it in its kustomization.yaml"
  echo "$found"
}

here() {
  kubectl --namespace "$namespace" "$@"
}

# True if Kubeflow's launcher is configured by a ConfigMap that is not ours.
has_their_launcher() {
  local names
  names=$(here get configmap -l app.kubernetes.io/part-of!=syntrial -o name) || exit 2
  grep -qx configmap/kfp-launcher <<<"$names"
}

# Prints whose settings Argo's controller has: ours, theirs (ours have not been merged into them), or none if there is no
# controller.
whose_controller() {
  local said
  said=$(here get configmap "$CONTROLLER" --ignore-not-found -o 'jsonpath={.metadata.name}{.data.workflowDefaults}') ||
    exit 2
  case $said in
    "") echo none ;;
    *"serviceAccountName == 'syntrial'"*) echo ours ;;
    *) echo theirs ;;
  esac
}

# Saves, under another name, the settings of Argo's controller that ours replace; a missing setting is saved as empty.
keep_controller() {
  local name said words=()
  for name in workflowDefaults failedPodRestart; do
    said=$(here get configmap "$CONTROLLER" -o "jsonpath={.data.$name}" && echo .) # the dot keeps final newlines
    words+=("--from-literal=$name=${said%.}")
  done
  here create configmap "$CONTROLLER$BEFORE" "${words[@]}" --dry-run=client -o yaml | here apply -f -
}

# Restores them in a single patch, so that nothing is lost if it fails; null removes a setting.
restore_controller() {
  local data
  data=$(here get configmap "$CONTROLLER$BEFORE" -o jsonpath='{.data}')
  here patch configmap "$CONTROLLER" --type merge -p "{\"data\": ${data//:\"\"/:null}}"
}

# copy FROM TO: copies the data of a ConfigMap to another name.
copy() {
  local data
  data=$(here get configmap "$1" -o jsonpath='{.data}')
  printf '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "%s"}, "data": %s}' "$2" "${data:-null}" |
    here apply -f -
}

program=${KUBECTL:-kubectl}
type -P ${program%% *} >/dev/null ||
  die "${KUBECTL:-kubectl} is not installed; KUBECTL=/path/to/kubectl names another"
